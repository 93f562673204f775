"""Edits of TOML text: our tables come and go, nothing else moves."""

import pytest

from ai_memory_mcp.agents import tomledit
from ai_memory_mcp.agents.jsonedit import EditError

PATH = ("mcp_servers", "aimemory")
ENTRY = {"command": "/opt/my tools/ai-memory-mcp", "args": ["serve"]}
BLOCK = '[mcp_servers.aimemory]\ncommand = "/opt/my tools/ai-memory-mcp"\nargs = ["serve"]\n'

BEFORE = {
    "nothing": "",
    "byte order mark": '\ufeffmodel = "x"\n',
    "comment": "# mine\n",
    "settings": 'model = "x" # why\n\n[tools]\nweb = true\n',
    "no final newline": 'model = "x"',
    "crlf": 'model = "x"\r\n[tools]\r\nweb = true\r\n',
    "other servers": '[mcp_servers.other]\ncommand = "x"\n',
    "dotted servers": 'mcp_servers.other.command = "x"\n',
    "servers header": "[mcp_servers]\n\n",
    "headers in strings": 'a = """\n[mcp_servers.aimemory]\n"""\nb = [\n  "[x]", # ]\n  \'\'\'[\'\'\',\n]\n',
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_a_table_is_appended_and_goes_without_a_trace(before):
    after = tomledit.append(before, PATH, ENTRY)

    assert after.startswith(before)
    assert tomledit.get(after, PATH) == ENTRY
    assert tomledit.remove(after, PATH, after[len(before) :]) == before
    assert tomledit.remove(after, PATH).rstrip("\r\n") == before.rstrip("\r\n")


def test_the_block_stands_after_a_blank_line_in_the_files_line_ends():
    assert tomledit.append("a = 1\n", PATH, ENTRY) == "a = 1\n\n" + BLOCK
    assert tomledit.append("a = 1\r\n", PATH, ENTRY) == "a = 1\r\n\r\n" + BLOCK.replace("\n", "\r\n")


def test_a_table_in_the_middle_goes_and_what_others_appended_stays():
    later = '\n# theirs\n[projects."/x"]\ntrust_level = "trusted"\n'

    assert tomledit.remove("a = 1\n\n" + BLOCK + later, PATH) == "a = 1\n" + later
    assert tomledit.remove(BLOCK + later, PATH) == later.removeprefix("\n")


def test_subtables_of_ours_go_with_it():
    text = "a = 1\n\n" + BLOCK + '\n[mcp_servers.aimemory.env]\nX = "y"\n\n[mcp_servers.z]\ncommand = "z"\n'

    assert tomledit.remove(text, PATH) == 'a = 1\n\n[mcp_servers.z]\ncommand = "z"\n'


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (
            '[mcp_servers]\naimemory = { command = "x" }\nz = { command = "z" }\n',
            '[mcp_servers]\nz = { command = "z" }\n',
        ),
        ('[mcp_servers]\naimemory.command = "x"\naimemory.args = [\n "a",\n]\n', "[mcp_servers]\n"),
        ('mcp_servers.aimemory.command = "x" # c\nmodel = "y"\n', 'model = "y"\n'),
        ('[mcp_servers."aimemory"]\n# inside\ncommand = "x"\n# behind\n', "# behind\n"),
        ('[ mcp_servers . \'aimemory\' ] # c\ncommand = """\n[x]\n"""\n[a]\n', "[a]\n"),
    ],
)
def test_every_written_form_of_a_table_is_removed(text, rest):
    assert tomledit.remove(text, PATH) == rest


def test_an_old_table_is_replaced_where_it_stands():
    text = 'a = 1\n\n[mcp_servers.aimemory]\ncommand = "old"\n\n[z]\nb = 2\n'

    assert tomledit.replace(text, PATH, ENTRY) == "a = 1\n\n" + BLOCK + "\n[z]\nb = 2\n"


def test_a_table_in_another_form_is_replaced_at_the_end():
    text = '[mcp_servers]\naimemory = { command = "x" }\n'

    assert tomledit.replace(text, PATH, ENTRY) == "[mcp_servers]\n\n" + BLOCK


def test_inline_tables_are_refused_with_the_lines_to_write():
    inline = 'mcp_servers = { other = { command = "x" } }\n'

    with pytest.raises(EditError, match=r"by hand:\n\[mcp_servers.aimemory\]\ncommand"):
        tomledit.append(inline, PATH, ENTRY)
    with pytest.raises(EditError, match="by hand"):
        tomledit.remove('mcp_servers = { aimemory = { command = "x" } }\n', PATH)
    with pytest.raises(EditError, match="not a table"):
        tomledit.append("mcp_servers = 3\n", PATH, ENTRY)


def test_a_text_that_does_not_parse_is_refused_with_its_place():
    with pytest.raises(EditError, match="line 2"):
        tomledit.append("a = 1\nb = \n", PATH, ENTRY)


def test_odd_names_and_values_are_written_so_that_they_read_back():
    path = ("hooks", "state", '/a "b"/hooks.json:stop:0:0')
    table = {"q": 'back\\slash "quote" \t \x7f é', "n": 1.5, "t": True, "env": {"A B": "c"}, "none": {}}

    assert tomledit.get(tomledit.append("", path, table), path) == table


def test_removing_what_is_not_there_changes_nothing():
    assert tomledit.remove("a = 1\n", PATH) == "a = 1\n"

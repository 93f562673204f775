"""Commands that wire agents: setup, install-mcp, install-hooks, uninstall, agents. Each shows its plan first."""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents import bundle, changes, install, trust
from ai_memory_mcp.agents.changes import Applied, Plan
from ai_memory_mcp.agents.install import Found, Wired
from ai_memory_mcp.agents.launcher import launcher_command, retire_launcher, starts, write_launcher
from ai_memory_mcp.agents.pieces import Target
from ai_memory_mcp.agents.refresh import refresh_plan
from ai_memory_mcp.agents.spec import AgentSpec, all_specs, find_spec
from ai_memory_mcp.agents.support import markdown, support
from ai_memory_mcp.agents.wiring import LOCAL, Launch, Part
from ai_memory_mcp.cli import client, render
from ai_memory_mcp.config import environment, home_folder, user_home
from ai_memory_mcp.errors import AiMemoryError, InputError, InstallError
from ai_memory_mcp.files import private_dir, write_atomic


@dataclass(frozen=True)
class Machine:
    """This machine as wiring sees it."""

    memory_home: Path
    target: Target
    launch: Launch

    def found(self) -> list[Found]:
        """Return the agents that are here."""
        return install.detect(list(all_specs().values()), self.target, shutil.which)


def this_machine(*, project_scope: bool = False, url: str = "") -> Machine:
    """Return where settings lie, what agents are to run (or the address that they are to ask), and whose settings are
    meant. Raises InputError."""
    env = environment()
    home = home_folder(env)
    if not user_home(env):
        raise InputError("HOME is not set; agents' settings cannot be found")
    project = Path(os.getcwd()) if project_scope else None
    command, args = server_command(sys.executable)
    told = {"AI_MEMORY_HOME": str(home)} if env.get("AI_MEMORY_HOME") else {}
    runner, emit = launcher_command(home)
    launch = Launch(command, args, emit, told, runner, url)
    return Machine(home, Target(Path(user_home(env)), env, project), launch)


def server_command(python: str) -> tuple[str, tuple[str, ...]]:
    """Return the absolute command of the MCP server and its arguments."""
    command, *args = program(python)
    return command, (*args, "serve")


def program(python: str) -> list[str]:
    """Return the command of this installation: the installed script, else the module, kept from importing anything
    out of the folder that it is run in."""
    script = Path(python).with_name("ai-memory-mcp.exe" if sys.platform == "win32" else "ai-memory-mcp")
    return [str(script)] if script.exists() else [python, "-I", "-m", "ai_memory_mcp"]


def setup(args: argparse.Namespace) -> int:
    """Wire every agent found, or with --refresh bring up to date what is wired: show, ask, apply."""
    url = client.server_address(args.server_url or "")
    machine = this_machine(project_scope=args.project, url=_entry_url(args, url))
    if args.refresh:
        return _refresh(args, machine)
    specs = _wanted(args, machine)
    if not specs:
        raise InputError("no agent was found here; install one first, or name it: setup --agent claude-code")
    plan = install.plan(specs, machine.target, machine.launch, machine.memory_home)
    _plan_client(plan, machine, url)
    return _set_up(args, machine, specs, plan)


def _entry_url(args: argparse.Namespace, url: str) -> str:
    """Return the address that agents are given: none but on request, for they start our server, which asks that one."""
    if args.http and url in ("", LOCAL):
        raise InputError("--http needs the address of a server: --server-url http://homelab:49374")
    return f"{url}/mcp" if args.http else LOCAL if url else ""


def _plan_client(plan: Plan, machine: Machine, url: str) -> None:
    """Plan also what makes this machine a client of a server, or of none any more."""
    if not url:
        return
    try:
        change = client.config_change(machine.memory_home, url)
    except InstallError as error:
        plan.errors.append(error)
        return
    if change:
        plan.changes.append(change)


def _keep_token(args: argparse.Namespace, machine: Machine) -> None:
    if getattr(args, "server_url", None) not in (None, LOCAL):
        told = client.keep_token(machine.memory_home, environment(), lambda: "" if args.json else _asked_token())
        if told:
            _say(args, told)


def _asked_token() -> str:
    """Ask for a token on the terminal, unseen; '' where there is none."""
    if not sys.stdin.isatty():
        return ""
    return getpass.getpass("Token for the server (none: just Enter): ")


def _refresh(args: argparse.Namespace, machine: Machine) -> int:
    known = [find_spec(name) for name in args.agent] if args.agent else list(all_specs().values())
    specs, plan = refresh_plan(known, machine.target, machine.launch, machine.memory_home)
    other = bool(specs) and not starts(machine.memory_home, sys.executable)
    if specs and not other:
        return _set_up(args, machine, specs, plan)
    if args.json:
        render.as_json({"agents": [], **_told(Plan(), None), "trust": {}})
    elif other:
        render.out(
            "What is wired here starts another installation and was left as it is; `setup` moves it to this one."
        )
    else:
        render.out("No agent is wired, so there is nothing to bring up to date.")
    return 0


def _set_up(args: argparse.Namespace, machine: Machine, specs: Sequence[AgentSpec], plan: Plan) -> int:
    done = _carry_out(args, plan, machine, wiring=True)
    codex = [spec for spec in specs if spec.hooks and spec.hooks.trust]
    trusted = _trust(args, machine, codex) if done is not None else {}
    if args.json:
        render.as_json({"agents": [spec.name for spec in specs], **_told(plan, done), "trust": trusted})
    elif done is not None and not _errors(plan, done):
        render.out("Done. Start an agent in a project; what it does is remembered from now on.")
        render.out("`ai-memory-mcp doctor` checks the wiring, `ai-memory-mcp uninstall` takes it out again.")
    return _code(plan, done)


def install_mcp(args: argparse.Namespace) -> int:
    """Add the MCP server to the settings of one agent."""
    return _install_part(args, "mcp")


def install_hooks(args: argparse.Namespace) -> int:
    """Add the hooks to the settings of one agent."""
    return _install_part(args, "hooks")


def _install_part(args: argparse.Namespace, part: Part) -> int:
    url = client.server_address(args.server_url or "") if part == "mcp" else ""
    machine = this_machine(project_scope=args.project, url=_entry_url(args, url) if part == "mcp" else "")
    specs = [find_spec(name) for name in args.agent]
    plan = install.plan(specs, machine.target, machine.launch, machine.memory_home, parts=(part,))
    _plan_client(plan, machine, url)
    args.yes, args.dry_run = args.apply, not args.apply
    done = _carry_out(args, plan, machine, wiring=True)
    if args.json:
        render.as_json(_told(plan, done))
    elif not args.apply and plan.changes:
        render.out("Nothing was written; add --apply to write it.")
    return _code(plan, done)


def uninstall(args: argparse.Namespace) -> int:
    """Take everything of ours out of the agents' settings; memory stays."""
    machine = this_machine(project_scope=args.project)
    specs = [find_spec(name) for name in args.agent] if args.agent else list(all_specs().values())
    plan = install.uninstall(specs, machine.target, machine.launch, machine.memory_home)
    done = _carry_out(args, plan, machine, wiring=False)
    if done is not None and not args.agent:
        retire_launcher(machine.memory_home)
    if args.json:
        render.as_json(_told(plan, done))
    elif done is not None:
        render.out(f"Memory itself stays in {machine.memory_home}; delete that folder to forget everything.")
    return _code(plan, done)


def agents(args: argparse.Namespace) -> int:
    """Print the support matrix and what is wired; or only the matrix in Markdown; or write the plugin of one agent."""
    if args.bundle:
        return _bundle(args)
    if args.markdown:
        table = markdown(map(support, all_specs().values()))
        render.as_json({"markdown": table}) if args.json else render.out(table.rstrip("\n"))
        return 0
    machine = this_machine()
    here = {found.spec.name: found for found in machine.found()}
    rows = []
    for spec in all_specs().values():
        state = install.wired(spec, machine.target, machine.launch)
        rows.append(_agent_row(spec, here.get(spec.name), state))
    if args.json:
        render.as_json({"agents": rows})
    else:
        render.agents(rows)
    return 0


def _bundle(args: argparse.Namespace) -> int:
    spec = find_spec(args.bundle)
    out = Path(args.out)
    if spec.bundle and spec.bundle.pack:
        files = {spec.bundle.pack: bundle.packed(spec)}
    else:
        files = {path: text.encode() for path, text in bundle.bundle_files(spec).items()}
    for path, data in files.items():
        place = out / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, data, mode=0o755 if path.endswith(".sh") else 0o644)
    written = [str(out / path) for path in files]
    if args.json:
        render.as_json({"written": written, "install": spec.bundle.install if spec.bundle else ""})
    else:
        for path in written:
            render.out(path)
        render.out(f"Install it: {spec.bundle.install}" if spec.bundle else "")
    return 0


def _agent_row(spec: AgentSpec, found: Found | None, state: Wired) -> dict[str, Any]:
    return {
        **asdict(support(spec)),
        "found": found is not None,
        "executable": found.executable if found else None,
        "mcp": state.mcp,
        "hooks": state.hooks,
        "trusted": state.trusted,
        "events": [name for name, event in spec.events.items() if event.install],
        "errors": list(state.errors),
    }


def _wanted(args: argparse.Namespace, machine: Machine) -> list[AgentSpec]:
    if args.agent:
        return [find_spec(name) for name in args.agent]
    return [found.spec for found in machine.found()]


def _carry_out(args: argparse.Namespace, plan: Plan, machine: Machine, *, wiring: bool) -> Applied | None:
    """Show the plan, ask, apply. None when it was only shown or refused; then nothing was written."""
    if not args.json:
        _show(plan)
    if args.dry_run:
        return None
    if plan.changes and not args.yes and not agreed("Write these changes?"):
        return None
    private_dir(machine.memory_home)
    if wiring:
        write_launcher(machine.memory_home, sys.executable)
        _keep_token(args, machine)
    done = changes.apply(plan, machine.memory_home, datetime.now(timezone.utc))
    for error in done.errors:
        render.warn(f"ai-memory-mcp: {error}")
    return done


def _show(plan: Plan) -> None:
    for line in plan.already:
        render.out(line)
    for change in plan.changes:
        render.out(render.styled(f"{change.path}: {', '.join(change.summary)}", "bold"))
        if change.after is not None:  # of a file that goes, its name says enough
            render.out(render.coloured_diff(changes.diff(change)))
    for error in plan.errors:
        render.warn(f"ai-memory-mcp: {error}")
    if not (plan.already or plan.changes or plan.errors):
        render.out("Nothing to do.")


def agreed(question: str) -> bool:
    """Ask on the terminal, or whoever writes to standard input. Raises InputError when nobody does."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        raise InputError("nobody answers on standard input; look at the plan above and add --yes")
    return answer.strip().lower() in ("y", "yes")


def _trust(args: argparse.Namespace, machine: Machine, specs: Sequence[AgentSpec]) -> dict[str, Any]:
    """Tell that Codex wants to be asked about hooks; on --trust-codex-hooks have it trust ours, after asking."""
    told: dict[str, Any] = {}
    for spec in specs:
        state = install.wired(spec, machine.target, machine.launch)
        if state.trusted or state.hooks != "wired":
            told[spec.name] = bool(state.trusted)
            continue
        told[spec.name] = False
        if not args.trust_codex_hooks:
            _say(args, f"{spec.title} runs hooks only after you trust them: start it and approve them under /hooks,")
            _say(args, "or run `ai-memory-mcp setup --trust-codex-hooks`. Until then it is not captured.")
            continue
        question = f"Trust the hooks of ai-memory in {spec.title}? This skips its own question."
        if not args.yes and not agreed(question):
            continue
        try:
            codex = next(filter(None, map(shutil.which, spec.executables)), None)
            plan = trust.codex_trust_plan(spec, machine.target, machine.launch, machine.memory_home, codex)
        except InstallError as error:
            render.warn(f"ai-memory-mcp: {error}")
            continue
        done = changes.apply(plan, machine.memory_home, datetime.now(timezone.utc))
        told[spec.name] = not done.errors and not plan.errors
        _say(args, f"{spec.title} trusts the hooks now." if told[spec.name] else f"{spec.title}: not trusted.")
    return told


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        render.out(text)


def _told(plan: Plan, done: Applied | None) -> dict[str, Any]:
    return {
        "applied": done is not None,
        "changes": [
            {"path": str(change.path), "summary": list(change.summary), "diff": changes.diff(change)}
            for change in plan.changes
        ],
        "already": plan.already,
        "errors": [str(error) for error in _errors(plan, done)],
    }


def _errors(plan: Plan, done: Applied | None) -> list[AiMemoryError]:
    return [*plan.errors, *(done.errors if done else [])]


def _code(plan: Plan, done: Applied | None) -> int:
    return 1 if _errors(plan, done) else 0

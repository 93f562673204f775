"""The index: SQLite derived from wiki and journal, disposable. The only package that knows SQL.

`db` opens, locks and migrates; `schema` holds the migrations; `rows` reads and writes records, `past` those of
history, `facts` what pages are found by beside their words; `search` asks FTS5.
"""

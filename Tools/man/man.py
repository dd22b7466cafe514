#!/usr/bin/env python3
"""man.py PROGRAM FOLDER: manual pages (mdoc) of a program and its subcommands, from its own --experimental-dump-help."""
import json
import pathlib
import subprocess
import sys


def escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def flag(name):
    return ("-" if name["kind"] == "short" else "--") + name["name"]


def entry(argument):
    """List item of one argument."""
    if argument["kind"] == "positional":
        head = f"<{argument['valueName']}>"
    else:
        head = ", ".join(flag(name) for name in argument["names"])
        if argument["kind"] == "option":
            head += f" <{argument['valueName']}>"
    text = argument.get("abstract", "")
    if "defaultValue" in argument and argument["kind"] == "option":
        text += f" (default: {argument['defaultValue']})"
    return f".It \\fB{escaped(head)}\\fR\n{escaped(text)}\n"


def paragraphs(text):
    return "\n.Pp\n".join(escaped(part).replace("\n", "\n.br\n") for part in text.split("\n\n"))


def page(path, command, version):
    title = "-".join(path)
    shown = [a for a in command.get("arguments", []) if a.get("shouldDisplay", True)]
    out = [f".\\\" made by Tools/man/man.py\n.Dd {version}\n.Dt {title.upper()} 1\n.Os\n.Sh NAME\n.Nm {escaped(title)}\n"
           f".Nd {escaped(command.get('abstract', '').rstrip('.'))}\n.Sh SYNOPSIS\n\\fB{escaped(' '.join(path))}\\fR"]
    children = [c for c in command.get("subcommands", []) if c["commandName"] != "help"]
    if children:
        out[0] += " <command> [<options>]"
    for a in shown:
        if a["kind"] == "positional":
            word = f"<{a['valueName']}>" + (" ..." if a["isRepeating"] else "")
            out[0] += " " + (f"[{word}]" if a["isOptional"] else word)
        elif not a["isOptional"]:
            out[0] += f" {escaped(flag(a['preferredName']))} <{a['valueName']}>" + (" ..." if a["isRepeating"] else "")
    if not children:
        out[0] += " [<options>]"
    if command.get("discussion"):
        out.append(".Sh DESCRIPTION\n" + paragraphs(command["discussion"]))
    if children:
        items = "".join(f".It \\fB{escaped(c['commandName'])}\\fR\n{escaped(c.get('abstract', ''))}\n" for c in children)
        out.append(f".Sh COMMANDS\n.Bl -tag -width 6n\n{items}.El")
    sections = {}
    for a in shown:
        name = a.get("sectionTitle") or ("arguments" if a["kind"] == "positional" else "options")
        sections.setdefault(name, []).append(a)
    for name, arguments in sections.items():
        out.append(f".Sh {name.upper()}\n.Bl -tag -width 6n\n{''.join(map(entry, arguments))}.El")
    if children:
        also = [f"{title}-{c['commandName']}" for c in children]
        out.append(".Sh SEE ALSO\n" + " ,\n".join(f".Xr {escaped(name)} 1" for name in also))
    else:
        out.append(f".Sh SEE ALSO\n.Xr {path[0]} 1")
    return "\n".join(out) + "\n"


def write(folder, path, command, version):
    (folder / f"{'-'.join(path)}.1").write_text(page(path, command, version))
    for child in command.get("subcommands", []):
        if child["commandName"] != "help":
            write(folder, path + [child["commandName"]], child, version)


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)

    def output(option):
        return subprocess.run([program, option], check=True, capture_output=True, text=True).stdout

    command = json.loads(output("--experimental-dump-help"))["command"]
    write(folder, [command["commandName"]], command, output("--version").strip())


main()

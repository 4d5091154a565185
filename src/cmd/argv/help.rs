//! Help screens from argh's `ArgsInfo`, in the layout of the original.

use crate::utils::order;
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

/// The screen for the last command of `chain`, which begins with the program itself.
pub fn help(program: &str, chain: &[&CommandInfoWithArgs]) -> String {
    let Some(info) = chain.last() else { return String::new() };
    let mut path = program.to_owned();
    for level in &chain[1..] {
        path.push(' ');
        path.push_str(level.name);
    }
    if info.commands.is_empty() { command(&path, info, &chain[..chain.len() - 1]) } else { group(&path, info) }
}

/// A program or a command with sub-commands.
fn group(path: &str, info: &CommandInfoWithArgs) -> String {
    let mut out = format!("USAGE:\n\t{path} <command> [args...]\n\n{}\n", sentence(info.description));
    let mut list = |title: &str, groups: bool| {
        let mut rows: Vec<(String, String)> = info
            .commands
            .iter()
            .filter(|c| c.command.commands.is_empty() != groups)
            .map(|c| (c.name.to_owned(), sentence(c.command.description)))
            .collect();
        order::sort(&mut rows);
        if !rows.is_empty() {
            out.push_str(&format!("\n{title}:\n"));
            columns(&mut out, "\t", &rows);
        }
    };
    list("MANAGEMENT COMMANDS", true);
    list("COMMANDS", false);
    out.push_str("\nCOMMON OPTIONS:\n");
    columns(&mut out, "\t", &flag_rows(info));
    out
}

/// A command that runs.
fn command(path: &str, info: &CommandInfoWithArgs, above: &[&CommandInfoWithArgs]) -> String {
    let mut out = format!("Usage:  {path} [OPTIONS]");
    for p in info.positionals.iter().filter(|p| !p.hidden) {
        match p.optionality {
            Optionality::Optional => out.push_str(&format!(" [{}]", p.name)),
            _ => out.push_str(&format!(" {}", p.name)),
        }
    }
    out.push_str(&format!("\n\n{}\n\nOptions:\n", sentence(info.description)));
    columns(&mut out, "  ", &flag_rows(info));
    for note in info.notes {
        out.push_str(&format!("\n{note}\n"));
    }
    let common: Vec<_> =
        above.iter().flat_map(|l| flag_rows(l)).filter(|(name, _)| !name.ends_with("--help")).collect();
    if !common.is_empty() {
        out.push_str("\nCommon options:\n");
        columns(&mut out, "  ", &common);
    }
    out
}

fn flag_rows(info: &CommandInfoWithArgs) -> Vec<(String, String)> {
    let mut flags: Vec<&FlagInfo<'_>> = info.flags.iter().filter(|f| !f.hidden).collect();
    order::sort_by_key(&mut flags, |f| f.long);
    let row = |f: &&FlagInfo<'_>| {
        let short = f.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
        let value = match f.kind {
            FlagInfoKind::Option { arg_name } if arg_name != "bool" => format!(" {arg_name}"),
            _ => String::new(),
        };
        (format!("{short}{}{value}", f.long), sentence(f.description))
    };
    flags.iter().map(row).collect()
}

fn columns(out: &mut String, indent: &str, rows: &[(String, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
    for (name, text) in rows {
        out.push_str(format!("{indent}{name:<width$}{text}").trim_end());
        out.push('\n');
    }
}

/// Descriptions are written in lower case, as argh wants them; screens begin with a capital.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => std::iter::once(first.to_ascii_uppercase()).chain(letters).collect(),
        None => String::new(),
    }
}

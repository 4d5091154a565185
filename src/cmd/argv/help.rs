//! Help screens from argh's `ArgsInfo`, in the layout of the original.

use super::{Dialect, below, is_common};
use crate::utils::order;
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

/// The screen for the last command of `chain`, which begins with the program itself.
pub fn help(program: &str, chain: &[&CommandInfoWithArgs], dialect: Dialect<'_>) -> String {
    let Some(info) = chain.last() else { return String::new() };
    let mut path = program.to_owned();
    for level in &chain[1..] {
        path.push(' ');
        path.push_str(level.name);
    }
    if info.commands.is_empty() {
        command(&path, info, &chain[..chain.len() - 1])
    } else {
        group(&path, chain, dialect)
    }
}

/// A program or a command with sub-commands.
fn group(path: &str, chain: &[&CommandInfoWithArgs], dialect: Dialect<'_>) -> String {
    let info = chain[chain.len() - 1];
    let mut out = format!("USAGE:\n\t{path} <command> [args...]\n\n{}\n", sentence(info.description));
    let mut list = |title: &str, groups: bool| {
        let mut rows: Vec<(String, String)> = info
            .commands
            .iter()
            .filter(|c| c.command.commands.is_empty() != groups)
            .map(|c| (c.name.to_owned(), sentence(c.command.description)))
            .collect();
        if !groups && chain.len() > 1 {
            let spelt = (dialect.spellings)(info.name).iter();
            rows.extend(spelt.filter_map(|(word, ..)| {
                below(chain, word, dialect).map(|(_, info, _)| ((*word).to_owned(), sentence(info.description)))
            }));
        }
        order::sort(&mut rows);
        if !rows.is_empty() {
            out.push_str(&format!("\n{title}:\n"));
            columns(&mut out, "\t", &rows);
        }
    };
    list("MANAGEMENT COMMANDS", true);
    list("COMMANDS", false);
    out.push_str("\nCOMMON OPTIONS:\n");
    columns(&mut out, "\t", &[flag_rows(info), common(&chain[..chain.len() - 1])].concat());
    out
}

/// The flags of the commands above. Each has a --help of its own.
fn common(above: &[&CommandInfoWithArgs]) -> Vec<(String, String)> {
    above.iter().flat_map(|l| flag_rows_of(l, |f| is_common(f) && f.long != "--help")).collect()
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
    let common = common(above);
    if !common.is_empty() {
        out.push_str("\nCommon options:\n");
        columns(&mut out, "  ", &common);
    }
    out
}

fn flag_rows(info: &CommandInfoWithArgs) -> Vec<(String, String)> {
    flag_rows_of(info, |_| true)
}

fn flag_rows_of(info: &CommandInfoWithArgs, wanted: fn(&FlagInfo<'_>) -> bool) -> Vec<(String, String)> {
    let mut flags: Vec<&FlagInfo<'_>> = info.flags.iter().filter(|f| !f.hidden && wanted(f)).collect();
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

/// Descriptions are written in lower case, as argh wants them; screens begin with a capital, unless with what is typed.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.split(' ').next().is_some_and(|word| word.contains('=')) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => std::iter::once(first.to_ascii_uppercase()).chain(letters).collect(),
        None => String::new(),
    }
}

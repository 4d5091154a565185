//! Manual pages from argh's `ArgsInfo`, in the macros of man(7).

use super::help::sentence;
use super::{Dialect, is_common};
use crate::utils::order;
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

/// What all pages of a program have in common.
#[derive(Clone, Copy)]
pub struct Book<'a> {
    /// 1 for commands, 8 for daemons.
    pub section: u8,
    /// Of the program.
    pub version: &'a str,
    /// How its words are read.
    pub dialect: Dialect<'a>,
}

/// The pages of a program and of its commands: name of the file, content.
pub fn pages(program: &str, info: &CommandInfoWithArgs, book: Book<'_>) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    walk(&[program], &[info], book, &mut pages);
    pages
}

fn walk(path: &[&str], chain: &[&CommandInfoWithArgs], book: Book<'_>, pages: &mut Vec<(String, String)>) {
    let Some(info) = chain.last() else { return };
    let Book { section, version, dialect } = book;
    let name = path.join("-");
    let mut text = format!(
        ".TH {} {section} \"\" \"isulabox {version}\" \"isulabox\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n",
        name.to_uppercase(),
        escaped(&name),
        escaped(info.description.trim()),
        escaped(&path.join(" ")),
    );
    if !info.flags.is_empty() {
        text.push_str("[OPTION...]\n");
    }
    if !info.commands.is_empty() {
        text.push_str("\\fICOMMAND\\fR [ARGUMENT...]\n");
    }
    for p in info.positionals.iter().filter(|p| !p.hidden) {
        let (open, close) = if p.optionality == Optionality::Optional { ("[", "]") } else { ("", "") };
        text.push_str(&format!("{open}\\fI{}\\fR{close}\n", escaped(p.name)));
    }
    if !info.commands.is_empty() {
        let mut rows: Vec<_> = info.commands.iter().map(|c| (c.name, c.command.description)).collect();
        order::sort(&mut rows);
        text.push_str(".SH COMMANDS\n");
        for (command, description) in rows {
            text.push_str(&format!(
                ".TP\n.B {}\n{}. See\n.BR {} ({section}).\n",
                escaped(command),
                escaped(&sentence(description)),
                escaped(&format!("{name}-{command}")),
            ));
        }
    }
    let spellings = if path.len() > 1 { (dialect.spellings)(info.name) } else { &[] };
    if !spellings.is_empty() {
        text.push_str(".SH OTHER SPELLINGS\nOf commands, as docker has them.\n");
    }
    for (word, command, flags) in spellings {
        let own = info.commands.iter().any(|c| c.name == *command);
        let page = if own { format!("{name}-{command}") } else { format!("{}-{command}", path[0]) };
        let with = if flags.is_empty() { String::new() } else { format!("With {}. ", escaped(&flags.join(" "))) };
        text.push_str(&format!(".TP\n.B {}\n{with}See\n.BR {} ({section}).\n", escaped(word), escaped(&page)));
    }
    options(&mut text, "OPTIONS", info, |_| true);
    for above in &chain[..chain.len() - 1] {
        // Every command has a --help of its own.
        options(&mut text, "COMMON OPTIONS", above, |flag| flag.long != "--help" && is_common(flag));
    }
    for note in info.notes {
        text.push_str(&format!(".SH NOTES\n{}\n", escaped(note)));
    }
    if path.len() > 1 {
        text.push_str(&format!(".SH SEE ALSO\n.BR {} ({section})\n", escaped(path[0])));
    }
    pages.push((format!("{name}.{section}"), text));
    for sub in &info.commands {
        walk(&[path, &[sub.name]].concat(), &[chain, &[&sub.command]].concat(), book, pages);
    }
}

fn options(text: &mut String, title: &str, info: &CommandInfoWithArgs, wanted: fn(&FlagInfo<'_>) -> bool) {
    let mut flags: Vec<&FlagInfo<'_>> = info.flags.iter().filter(|f| !f.hidden && wanted(f)).collect();
    if flags.is_empty() {
        return;
    }
    order::sort_by_key(&mut flags, |f| f.long);
    text.push_str(&format!(".SH {title}\n"));
    for flag in flags {
        let short = flag.short.map_or_else(String::new, |c| format!("\\fB\\-{c}\\fR, "));
        let value = match flag.kind {
            FlagInfoKind::Option { arg_name } if arg_name != "bool" => format!(" \\fI{}\\fR", escaped(arg_name)),
            _ => String::new(),
        };
        let long = escaped(flag.long);
        text.push_str(&format!(".TP\n{short}\\fB{long}\\fR{value}\n{}\n", escaped(&sentence(flag.description))));
    }
}

/// Text as roff prints it: no control lines, hyphens that can be searched for.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{ArgsInfo, FromArgs};

    /// does things
    #[derive(FromArgs, ArgsInfo)]
    #[allow(dead_code)] // its description is what counts
    struct Top {
        /// socket of the daemon, /run/x-y
        #[argh(option, short = 'H', arg_name = "socket")]
        host: Option<String>,
        #[argh(subcommand)]
        command: Sub,
    }

    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand)]
    #[allow(dead_code)]
    enum Sub {
        Rm(Rm),
    }

    /// removes
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "rm")]
    #[allow(dead_code)]
    struct Rm {
        /// also what runs
        #[argh(switch, short = 'f')]
        force: bool,
        #[argh(positional, arg_name = "NAME...")]
        names: Vec<String>,
    }

    #[test]
    fn a_page_for_each_command() {
        let pages = pages("do", &Top::get_args_info(), Book { section: 1, version: "1.2", dialect: Dialect::PLAIN });
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["do.1", "do-rm.1"]);
        let want = ".TH DO-RM 1 \"\" \"isulabox 1.2\" \"isulabox\"\n.SH NAME\ndo\\-rm \\- removes\n.SH SYNOPSIS\n\
                    .B do rm\n[OPTION...]\n\\fINAME...\\fR\n.SH OPTIONS\n.TP\n\\fB\\-f\\fR, \\fB\\-\\-force\\fR\n\
                    Also what runs\n.TP\n\\fB\\-\\-help\\fR\nDisplay usage information\n.SH COMMON OPTIONS\n.TP\n\\fB\\-H\\fR, \\fB\\-\\-host\\fR \\fIsocket\\fR\n\
                    Socket of the daemon, /run/x\\-y\n.SH SEE ALSO\n.BR do (1)\n";
        assert_eq!(pages[1].1, want);
        assert_eq!(escaped(".x\\y"), "\\&.x\\ey", "no line of text is a command");
    }
}

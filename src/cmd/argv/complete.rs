//! What may follow on a command line that is being typed. The same walk over the same table of flags as when it is run,
//! without its rules: half a line breaks some.

use super::{Dialect, below, is_common};
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

/// What can stand in place of the last word.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// One of these.
    Words(Vec<String>),
    /// The value of an option, or a positional word, of this name, for the command of the other.
    Value {
        /// As in the usage line: `CONTAINER...`, `file`.
        name: &'static str,
        /// Name of the command.
        command: &'static str,
        /// The option whose value it is; empty for a positional word.
        flag: &'static str,
    },
    /// Nobody knows.
    Anything,
}

/// Looks at the words after the program's name, of which the last is not complete; it may be empty. Tells the flags of
/// the program itself that were given, with their values.
pub fn next(
    info: &CommandInfoWithArgs,
    words: &[String],
    dialect: Dialect<'_>,
    mut given: impl FnMut(&str, &str),
) -> Next {
    let Some((last, before)) = words.split_last() else { return Next::Anything };
    let mut walk = Walk { levels: vec![info], positionals: 0, only_positionals: false, explains: false };
    let mut words = before.iter();
    while let Some(word) = words.next() {
        let (name, glued) = word.split_once('=').unwrap_or((word, ""));
        match walk.step(word, dialect) {
            Step::Done if info.flags.iter().any(|flag| flag.long == name) => given(name, glued),
            Step::Done => {}
            Step::Wants(flag) => match words.next() {
                Some(value) if info.flags.iter().any(|own| std::ptr::eq(own, flag)) => given(flag.long, value),
                Some(_) => {}
                None => return walk.value_of(flag),
            },
            Step::Foreign => return Next::Anything,
        }
    }
    walk.last(last, dialect)
}

struct Walk<'a> {
    levels: Vec<&'a CommandInfoWithArgs>,
    positionals: usize,
    only_positionals: bool,
    /// What follows `help` are commands, whose own words are not asked for.
    explains: bool,
}

enum Step<'a> {
    Done,
    /// The next word is this option's value.
    Wants(&'a FlagInfo<'static>),
    /// From here on the words are another program's, or make no sense.
    Foreign,
}

impl<'a> Walk<'a> {
    fn innermost(&self) -> &'a CommandInfoWithArgs {
        self.levels[self.levels.len() - 1]
    }

    fn find(&self, is: impl Fn(&FlagInfo<'static>) -> bool) -> Option<&'a FlagInfo<'static>> {
        self.flags().find(|flag| is(flag))
    }

    /// Those of the command, then the common ones.
    fn flags(&self) -> impl Iterator<Item = &'a FlagInfo<'static>> + '_ {
        let innermost = self.levels.len() - 1;
        let levels = self.levels.iter().enumerate().rev();
        levels
            .flat_map(|(depth, level)| level.flags.iter().map(move |flag| (depth, flag)))
            .filter_map(move |(depth, flag)| (depth == innermost || is_common(flag)).then_some(flag))
    }

    fn step(&mut self, word: &str, dialect: Dialect<'_>) -> Step<'a> {
        if self.only_positionals || !word.starts_with('-') || word == "-" {
            return self.positional(word, dialect);
        }
        if word == "--" {
            self.only_positionals = true;
            return Step::Done;
        }
        let flag = match word.strip_prefix("--") {
            Some(_) if word.contains('=') => return Step::Done,
            Some(_) => self.find(|flag| flag.long == word),
            // Of several letters only the last one can have its value in the next word.
            None => {
                let takes = |c| self.find(|f| f.short == Some(c)).is_some_and(|flag| takes_value(flag));
                match word[1..].char_indices().find(|(_, c)| takes(*c)) {
                    Some((at, c)) if at + c.len_utf8() == word.len() - 1 => self.find(|f| f.short == Some(c)),
                    _ => None,
                }
            }
        };
        flag.filter(|flag| takes_value(flag)).map_or(Step::Done, Step::Wants)
    }

    fn positional(&mut self, word: &str, dialect: Dialect<'_>) -> Step<'a> {
        let info = self.innermost();
        if let Some((depth, found, _)) = below(&self.levels, word, dialect) {
            self.levels.truncate(depth);
            self.levels.push(found);
        } else if self.levels.len() == 1 && word == "help" {
            self.explains = true;
        } else if !info.commands.is_empty() {
            return Step::Foreign;
        } else {
            let at = self.positionals.min(info.positionals.len().saturating_sub(1));
            let is_greedy = info.positionals.get(at).is_some_and(|p| p.optionality == Optionality::Greedy);
            if is_greedy {
                return Step::Foreign;
            }
            self.positionals += 1;
        }
        Step::Done
    }

    fn value_of(&self, flag: &FlagInfo<'static>) -> Next {
        match flag.kind {
            FlagInfoKind::Option { arg_name } => {
                Next::Value { name: arg_name, command: self.innermost().name, flag: flag.long }
            }
            FlagInfoKind::Switch => Next::Anything,
        }
    }

    fn last(&self, word: &str, dialect: Dialect<'_>) -> Next {
        let info = self.innermost();
        if word.starts_with('-') && !self.only_positionals {
            if let Some((name, _)) = word.split_once('=') {
                return self.find(|flag| flag.long == name).map_or(Next::Anything, |flag| self.value_of(flag));
            }
            let mut names: Vec<String> = Vec::new();
            for flag in self.flags().filter(|flag| !flag.hidden) {
                // Every command has a --help.
                if flag.long.starts_with(word) && names.iter().all(|name| name != flag.long) {
                    names.push(flag.long.to_owned());
                }
            }
            return Next::Words(names);
        }
        if !info.commands.is_empty() {
            let spelt = if self.levels.len() > 1 { (dialect.spellings)(info.name) } else { &[] };
            let names = info.commands.iter().map(|command| command.name).chain(spelt.iter().map(|(name, ..)| *name));
            return Next::Words(names.filter(|name| name.starts_with(word)).map(str::to_owned).collect());
        }
        if self.explains {
            return Next::Words(Vec::new());
        }
        match info.positionals.get(self.positionals).or(info.positionals.last()) {
            Some(p) if self.positionals < info.positionals.len() || p.optionality == Optionality::Repeating => {
                Next::Value { name: p.name, command: info.name, flag: "" }
            }
            _ => Next::Words(Vec::new()),
        }
    }
}

fn takes_value(flag: &FlagInfo<'_>) -> bool {
    matches!(flag.kind, FlagInfoKind::Option { arg_name } if arg_name != "bool")
}

#[cfg(test)]
mod tests {
    use super::super::Spelling;
    use super::*;
    use argh::ArgsInfo;

    #[derive(ArgsInfo)]
    #[allow(dead_code)] // its description is what counts
    /// top
    struct Top {
        /// socket
        #[argh(option, short = 'H', arg_name = "socket")]
        host: Option<String>,
        #[argh(subcommand)]
        command: Sub,
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand)]
    #[allow(dead_code)]
    enum Sub {
        Run(Run),
        Rm(Rm),
        Group(Group),
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand, name = "run")]
    #[allow(dead_code)]
    /// runs
    struct Run {
        /// file
        #[argh(option, arg_name = "file")]
        env_file: Vec<String>,
        /// input
        #[argh(switch, short = 'i')]
        interactive: bool,
        /// memory
        #[argh(option, short = 'm', arg_name = "bytes")]
        memory: Option<String>,
        #[argh(positional, arg_name = "IMAGE")]
        image: String,
        #[argh(positional, greedy, arg_name = "[COMMAND]")]
        command: Vec<String>,
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand, name = "rm")]
    #[allow(dead_code)]
    /// removes
    struct Rm {
        #[argh(positional, arg_name = "CONTAINER...")]
        containers: Vec<String>,
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand, name = "group")]
    #[allow(dead_code)]
    /// group
    struct Group {
        #[argh(subcommand)]
        command: In,
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand)]
    #[allow(dead_code)]
    enum In {
        Prune(Prune),
    }

    #[derive(ArgsInfo)]
    #[argh(subcommand, name = "prune")]
    /// prunes
    struct Prune {}

    #[test]
    fn half_a_line() {
        let list = |words: &[&str]| Next::Words(words.iter().map(|w| w.to_string()).collect());
        let value = |name, command| Next::Value { name, command, flag: "" };
        let of_flag = |name, command, flag| Next::Value { name, command, flag };
        for (line, want) in [
            ("", list(&["run", "rm", "group"])),
            ("r", list(&["run", "rm"])),
            ("-H x:/y r", list(&["run", "rm"])),
            ("-H ", of_flag("socket", "Top", "--host")),
            ("help ", list(&["run", "rm", "group"])),
            ("help group ", list(&["prune", "delete"])),
            ("help rm ", list(&[])),
            ("run --", list(&["--help", "--env-file", "--interactive", "--memory", "--host"])),
            ("run --m", list(&["--memory"])),
            ("run --env-file ", of_flag("file", "run", "--env-file")),
            ("run --env-file=/etc", of_flag("file", "run", "--env-file")),
            ("run -im ", of_flag("bytes", "run", "--memory")),
            ("run -m64m ", value("IMAGE", "run")),
            ("run -i --env-file x bo", value("IMAGE", "run")),
            ("run box ", value("[COMMAND]", "run")),
            ("run box ls -", Next::Anything),
            ("rm a b ", value("CONTAINER...", "rm")),
            ("rm -- -", value("CONTAINER...", "rm")),
            ("group ", list(&["prune", "delete"])),
            ("group delete x", value("CONTAINER...", "rm")),
            ("nosuch x ", Next::Anything),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            const SPELLINGS: &[Spelling] = &[("delete", "rm", &[])];
            let spellings = |group: &str| if group == "group" { SPELLINGS } else { &[] };
            let dialect = Dialect { refused: &|_, _| false, spellings: &spellings };
            let mut info = Top::get_args_info();
            info.name = "Top";
            let mut host = None;
            let got = next(&info, &words, dialect, |name, value| host = Some(format!("{name} {value}")));
            assert_eq!(got, want, "{line:?}");
            assert_eq!(host, line.starts_with("-H x").then(|| "--host x:/y".to_owned()));
        }
    }
}

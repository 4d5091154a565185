//! The step in front of argh: docker-style words become words that argh reads.
//!
//! argh knows neither `-itd` nor `--env=A=b` nor `--rm=false`, and takes global flags only before the sub-command. This
//! walk is driven by argh's own `ArgsInfo`, so there is no second table of flags. Three conventions carry what `ArgsInfo`
//! has no field for:
//!
//! - an option whose `arg_name` is `int` or `uint` takes a number, checked here; one whose `arg_name` is `bool` may
//!   stand without a value;
//! - a repeated positional needs at least one word unless its name begins with `[`;
//! - a greedy positional ends the command's own options at its first positional word; without one, options and
//!   positional words interleave.
//!
//! A flag that a sub-command does not have is looked up in the commands above it, so `-H` may come late. A flag given
//! twice keeps its last value, unless it is a list. No I/O happens here.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};
use std::ffi::OsString;
use std::fmt;

#[cfg(feature = "completion")]
pub mod complete;
mod help;
pub mod man;

pub use help::help;

/// Most positional words of one command whose positionals are names.
const MAX_NAMES: usize = 999;

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help was asked for: the screen to print.
    Help(String),
    /// The words break the grammar.
    Fault(Fault),
}

/// A broken rule of the grammar. `Display` gives the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No such flag.
    UnknownFlag(String),
    /// A flag that a later release has.
    RefusedFlag(String),
    /// An option at the end of the words.
    MissingValue(String),
    /// A switch with a value that is no truth value.
    BadBoolean {
        /// What was given.
        value: String,
        /// The flag as typed.
        flag: String,
    },
    /// An option with a value of the wrong form.
    BadValue {
        /// What was given.
        value: String,
        /// The flag as typed.
        flag: String,
    },
    /// No such command.
    UnknownCommand {
        /// The words before, joined: `isula` or `isula network`.
        program: String,
        /// The word.
        command: String,
    },
    /// Fewer positional words than the command needs.
    TooFew {
        /// The command.
        command: String,
        /// How many it needs.
        minimum: usize,
    },
    /// More positional words than the command takes.
    TooMany {
        /// The command.
        command: String,
        /// How many it takes; `None` for the bound on all commands.
        maximum: Option<usize>,
    },
    /// A word that is not UTF-8: no API can carry it.
    NotText(OsString),
    /// What argh says beyond that.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        match self {
            Fault::UnknownFlag(flag) => write!(f, "Unknown flag found:'{flag}'"),
            Fault::RefusedFlag(flag) => write!(f, "flag {flag} is not available in this release"),
            Fault::MissingValue(flag) => write!(f, "Flag needs an argument: {flag}"),
            Fault::BadBoolean { value, flag } => write!(f, "Invalid boolean value {value:?} for flag {flag}"),
            Fault::BadValue { value, flag } => write!(f, "Invalid value {value:?} for flag {flag}"),
            Fault::UnknownCommand { program, command } => {
                write!(f, "{program}: command {command:?} not found\nrun `{program} --help` for a list of sub-commands")
            }
            Fault::TooFew { command, minimum } => {
                write!(f, "{command:?} requires a minimum of {minimum} {}.", plural(*minimum))
            }
            Fault::TooMany { command, maximum: Some(n) } => {
                write!(f, "{command:?} requires {}{n} {}.", if *n == 0 { "" } else { "at most " }, plural(*n))
            }
            Fault::TooMany { maximum: None, .. } => write!(f, "You specify too many arguments."),
            Fault::NotText(word) => write!(f, "argument {word:?} is not valid UTF-8"),
            Fault::Other(text) => f.write_str(text),
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// What is particular to a program's words.
#[derive(Clone, Copy)]
pub struct Dialect<'a> {
    /// Which flags a command of this name knows of but does not have; the words are as typed, `--restart` or `-p`.
    pub refused: &'a dyn Fn(&str, &str) -> bool,
    /// The commands that a group of commands, by its name, has under other words or from elsewhere.
    pub spellings: &'a dyn Fn(&str) -> &'static [Spelling],
}

/// A word for a command of the group or of the program, and flags that it then has.
pub type Spelling = (&'static str, &'static str, &'static [&'static str]);

impl Dialect<'_> {
    /// Nothing.
    pub const PLAIN: Dialect<'static> = Dialect { refused: &|_, _| false, spellings: &|_| &[] };
}

/// Parses the words after the program's name.
///
/// # Errors
/// [`Stop::Help`] with the screen, or the first broken rule.
pub fn parse<T: FromArgs + ArgsInfo>(program: &str, words: Vec<OsString>, dialect: Dialect<'_>) -> Result<T, Stop> {
    let words = words.into_iter().map(|w| w.into_string().map_err(Fault::NotText)).collect::<Result<Vec<_>, _>>()?;
    let info = T::get_args_info();
    let normal = normalise(program, &info, &words, dialect)?;
    let normal: Vec<&str> = normal.iter().map(String::as_str).collect();
    T::from_args(&[program], &normal).map_err(|e| Fault::Other(e.output.trim_end().to_owned()).into())
}

/// One command on the way from the program to the sub-command that runs.
struct Level<'a> {
    info: &'a CommandInfoWithArgs,
    /// Flag and value in order of first appearance; a switch has `true` or `false`.
    flags: Vec<(&'a FlagInfo<'static>, String)>,
    positionals: Vec<String>,
}

impl<'a> Level<'a> {
    fn new(info: &'a CommandInfoWithArgs) -> Level<'a> {
        Level { info, flags: Vec::new(), positionals: Vec::new() }
    }

    fn is_greedy(&self) -> bool {
        self.info.positionals.last().is_some_and(|p| p.optionality == Optionality::Greedy)
    }

    fn set(&mut self, flag: &'a FlagInfo<'static>, value: String) {
        if flag.optionality != Optionality::Repeating
            && let Some(old) = self.flags.iter_mut().find(|(f, _)| std::ptr::eq(*f, flag))
        {
            old.1 = value;
            return;
        }
        self.flags.push((flag, value));
    }

    /// How many positional words the command takes: at least, and at most.
    fn arity(&self) -> (usize, Option<usize>) {
        let (mut minimum, mut maximum) = (0, Some(0));
        for p in self.info.positionals {
            let many = matches!(p.optionality, Optionality::Repeating | Optionality::Greedy);
            let needed = match p.optionality {
                Optionality::Required => true,
                Optionality::Optional => false,
                _ => !p.name.starts_with('['),
            };
            minimum += usize::from(needed);
            maximum = if many { None } else { maximum.map(|n| n + 1) };
        }
        (minimum, maximum)
    }

    fn check_arity(&self) -> Result<(), Fault> {
        let (minimum, maximum) = self.arity();
        let (given, command) = (self.positionals.len(), self.info.name.to_owned());
        if given < minimum {
            return Err(Fault::TooFew { command, minimum });
        }
        if maximum.is_some_and(|m| given > m) {
            return Err(Fault::TooMany { command, maximum });
        }
        if given > MAX_NAMES && !self.is_greedy() {
            return Err(Fault::TooMany { command, maximum: None });
        }
        Ok(())
    }

    /// The words of this level in the form that argh reads.
    fn emit(self, out: &mut Vec<String>) {
        for (flag, value) in self.flags {
            match flag.kind {
                FlagInfoKind::Switch if value == "false" => {}
                FlagInfoKind::Switch => out.push(flag.long.to_owned()),
                FlagInfoKind::Option { .. } => out.extend([flag.long.to_owned(), value]),
            }
        }
        if !self.positionals.is_empty() {
            out.push("--".to_owned());
            out.extend(self.positionals);
        }
    }
}

/// The walk over the words.
struct Walk<'a, 'w> {
    program: &'a str,
    levels: Vec<Level<'a>>,
    words: std::slice::Iter<'w, String>,
    dialect: Dialect<'a>,
}

/// Rewrites `words` for argh.
///
/// # Errors
/// [`Stop::Help`] with the screen, or the first broken rule.
pub fn normalise<'a>(
    program: &'a str,
    info: &'a CommandInfoWithArgs,
    words: &[String],
    dialect: Dialect<'a>,
) -> Result<Vec<String>, Stop> {
    let mut walk = Walk { program, levels: vec![Level::new(info)], words: words.iter(), dialect };
    while let Some(word) = walk.words.next() {
        match word.as_str() {
            "--" => {
                // What follows is positional, so no sub-command can follow.
                let rest = walk.words.as_slice().to_vec();
                walk.last().positionals.extend(rest);
                break;
            }
            long if long.starts_with("--") => walk.long(long)?,
            short if short.starts_with('-') && short.len() > 1 => walk.short(short)?,
            _ => {
                if walk.positional(word)? {
                    break;
                }
            }
        }
    }
    let (depth, last) = (walk.levels.len(), walk.last());
    if last.info.commands.is_empty() || !last.info.positionals.is_empty() {
        last.check_arity()?;
    } else if depth > 1 || last.flags.is_empty() {
        return Err(walk.help());
    }
    // Else a flag such as --version may make the command needless: argh's type knows.
    Ok(walk.emit())
}

impl<'a> Walk<'a, '_> {
    fn last(&mut self) -> &mut Level<'a> {
        self.levels.last_mut().expect("the walk begins with a level and never removes one")
    }

    fn path(&self) -> String {
        let mut path = self.program.to_owned();
        for level in &self.levels[1..] {
            path.push(' ');
            path.push_str(level.info.name);
        }
        path
    }

    fn emit(self) -> Vec<String> {
        let mut out = Vec::new();
        for (depth, level) in self.levels.into_iter().enumerate() {
            if depth > 0 {
                out.push(level.info.name.to_owned());
            }
            level.emit(&mut out);
        }
        out
    }

    /// Where a flag belongs: the innermost command that has it.
    fn find(&self, is: impl Fn(&FlagInfo<'static>) -> bool) -> Option<(usize, &'a FlagInfo<'static>)> {
        let innermost = self.levels.len() - 1;
        let levels = self.levels.iter().enumerate().rev();
        let mut flags = levels.flat_map(|(depth, l)| l.info.flags.iter().map(move |f| (depth, f)));
        flags.find(|(depth, f)| is(f) && (*depth == innermost || is_common(f)))
    }

    fn unknown(&self, flag: &str) -> Stop {
        let command = self.levels.last().map_or("", |l| l.info.name);
        let refused = (self.dialect.refused)(command, flag);
        let flag = flag.to_owned();
        Stop::Fault(if refused { Fault::RefusedFlag(flag) } else { Fault::UnknownFlag(flag) })
    }

    fn help(&self) -> Stop {
        let chain: Vec<&CommandInfoWithArgs> = self.levels.iter().map(|l| l.info).collect();
        Stop::Help(help(self.program, &chain, self.dialect))
    }

    /// Of the command that the rest of the words name.
    fn help_of_words(&mut self) -> Stop {
        while let Some(word) = self.words.next() {
            if !word.starts_with('-') && self.descend(word).is_none() {
                return Fault::UnknownCommand { program: self.path(), command: word.to_owned() }.into();
            }
        }
        self.help()
    }

    /// Goes to the command of this word, when there is one, and tells the flags that the word stands for.
    fn descend(&mut self, word: &str) -> Option<&'static [&'static str]> {
        let chain: Vec<&'a CommandInfoWithArgs> = self.levels.iter().map(|level| level.info).collect();
        let (depth, info, flags) = below(&chain, word, self.dialect)?;
        self.levels.truncate(depth);
        self.levels.push(Level::new(info));
        Some(flags)
    }

    fn long(&mut self, word: &str) -> Result<(), Stop> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if name == "--help" {
            return Err(self.help());
        }
        let (depth, flag) = self.find(|f| f.long == name).ok_or_else(|| self.unknown(name))?;
        self.take(depth, flag, name, value)
    }

    /// `-n v`, `-nv`, `-n=v`, `-itn v`, `-t=false`.
    fn short(&mut self, word: &str) -> Result<(), Stop> {
        let mut rest = &word[1..];
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            let name = format!("-{letter}");
            let Some((depth, flag)) = self.find(|f| f.short == Some(letter)) else {
                return Err(if letter == 'h' { self.help() } else { self.unknown(&name) });
            };
            let glued = match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() || flag.kind == FlagInfoKind::Switch => None,
                None if flag.kind == (FlagInfoKind::Option { arg_name: "bool" }) => None,
                None => Some(rest),
            };
            if glued.is_some() {
                rest = "";
            }
            self.take(depth, flag, &name, glued)?;
        }
        Ok(())
    }

    /// Takes a flag with the value that was glued to it, or with the next word where it needs one.
    fn take(
        &mut self,
        depth: usize,
        flag: &'a FlagInfo<'static>,
        typed: &str,
        glued: Option<&str>,
    ) -> Result<(), Stop> {
        let bad = |value: &str| Fault::BadValue { value: value.to_owned(), flag: typed.to_owned() };
        let truth = |value: &str| match truth_value(value) {
            Some(t) => Ok(t.to_string()),
            None => Err(Fault::BadBoolean { value: value.to_owned(), flag: typed.to_owned() }),
        };
        let value = match flag.kind {
            FlagInfoKind::Switch | FlagInfoKind::Option { arg_name: "bool" } => truth(glued.unwrap_or("true"))?,
            FlagInfoKind::Option { arg_name } => {
                let value = match glued {
                    Some(value) => value,
                    None => self.words.next().ok_or_else(|| Fault::MissingValue(typed.to_owned()))?,
                };
                match arg_name {
                    "int" if value.parse::<i64>().is_err() => return Err(bad(value).into()),
                    "uint" if value.parse::<u64>().is_err() => return Err(bad(value).into()),
                    _ => value.to_owned(),
                }
            }
        };
        self.levels[depth].set(flag, value);
        Ok(())
    }

    /// Takes a word that is no flag; true when all words are used up.
    fn positional(&mut self, word: &str) -> Result<bool, Stop> {
        let info = self.last().info;
        if let Some(flags) = self.descend(word) {
            return flags.iter().try_for_each(|flag| self.long(flag)).map(|()| false);
        }
        if self.levels.len() == 1 && word == "help" && !info.commands.is_empty() {
            return Err(self.help_of_words());
        }
        if self.levels.len() == 1 && info.commands.is_empty() && info.positionals.is_empty() {
            return Err(Fault::Other(format!("Unrecognized argument: {word}")).into());
        }
        if !info.commands.is_empty() && info.positionals.is_empty() {
            let (program, command) = (self.path(), word.to_owned());
            return Err(Fault::UnknownCommand { program, command }.into());
        }
        self.last().positionals.push(word.to_owned());
        if !self.last().is_greedy() {
            return Ok(false);
        }
        let rest = self.words.as_slice().to_vec();
        self.last().positionals.extend(rest);
        Ok(true)
    }
}

/// The command that a word names below the last one of a chain, how many of the chain are above it, and the flags that
/// the word stands for.
fn below<'a>(
    chain: &[&'a CommandInfoWithArgs],
    word: &str,
    dialect: Dialect<'_>,
) -> Option<(usize, &'a CommandInfoWithArgs, &'static [&'static str])> {
    let last = chain.len() - 1;
    let find = |at: usize, word: &str| chain[at].commands.iter().find(|c| c.name == word).map(|c| &c.command);
    if let Some(info) = find(last, word) {
        return Some((chain.len(), info, &[]));
    }
    let spellings = if last == 0 { &[] } else { (dialect.spellings)(chain[last].name) };
    let (_, name, flags) = spellings.iter().find(|(spelt, ..)| *spelt == word)?;
    let own = find(last, name).map(|info| (chain.len(), info, *flags));
    own.or_else(|| find(0, name).map(|info| (1, info, *flags)))
}

/// Whether a flag of a command is one of those below it as well. The version is that of a program.
fn is_common(flag: &FlagInfo<'_>) -> bool {
    flag.long != "--version"
}

/// Go's `strconv.ParseBool`, which docker's flags use.
pub fn truth_value(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

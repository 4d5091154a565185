//! `completion`: what a shell asks when the tab key is pressed.

use super::failure::Failure;
use super::secure::Secure;
use super::{DIALECT, Session, Top, default_host, output};
use crate::client::{Client, Filters, ImageListRequest, ListRequest};
use crate::cmd::argv::complete::{Next, next};
use argh::{ArgsInfo, FromArgs};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// The word by which the scripts ask; no command, so that no list shows it.
pub const ASK: &str = "__complete";
/// The answer that means: names of files.
const FILES: &str = ":files";

/// print a script that makes a shell complete words: bash, zsh, fish, or sh (also ash) for /etc/profile.d
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "completion")]
pub struct Completion {
    #[argh(positional, arg_name = "SHELL")]
    shell: String,
}

/// Takes the line as it is typed: bash's own words end at colons and equals signs, of which names of images are full.
const BASH: &str = r#"_isula() {
    local line current all cut
    read -ra line <<< "${COMP_LINE:0:COMP_POINT}x"
    current=${line[${#line[@]}-1]%x}
    line[${#line[@]}-1]=$current
    mapfile -t all < <(isula __complete "${line[@]:1}" 2>/dev/null)
    if [ "${all[0]}" = :files ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
        return
    fi
    [[ $COMP_WORDBREAKS == *:* ]] && cut=:
    [[ $COMP_WORDBREAKS == *=* ]] && cut+==
    [ -z "$cut" ] || cut=${current%"${current##*[$cut]}"}
    COMPREPLY=("${all[@]#"$cut"}")
}
complete -F _isula isula
"#;

const ZSH: &str = r#"_isula() {
    local -a all
    all=("${(@f)$(isula __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $all[1] == :files ]]; then _files; elif [[ -n $all[1] ]]; then compadd -- $all; fi
}
if (( $+functions[compdef] )); then compdef _isula isula; fi
"#;

const FISH: &str = r#"function __isula
    set -l all (isula __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test "$all[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $all
    end
end
complete -c isula -f -a '(__isula)'
"#;

impl Completion {
    /// Runs the verb.
    pub fn run(self, _: &Session) -> Result<u8, Failure> {
        let script = match self.shell.as_str() {
            "bash" => BASH.to_owned(),
            // As a file of $fpath it is the body of the function at its first call.
            "zsh" => format!("#compdef isula\n{ZSH}if [[ $funcstack[1] == _isula ]]; then _isula; fi\n"),
            "fish" => FISH.to_owned(),
            // Others read it too: they must not stumble over what they cannot parse, and busybox's has no such thing.
            "sh" | "ash" => format!(
                "if [ -n \"${{BASH_VERSION-}}\" ]; then\n    eval {}\nelif [ -n \"${{ZSH_VERSION-}}\" ]; then\n    eval {}\nfi\n",
                quoted(BASH),
                quoted(ZSH)
            ),
            other => {
                return Err(Failure::usage(format!(
                    "no completion for shell {other:?}: want bash, zsh, fish, sh or ash"
                )));
            }
        };
        output::print(&script)?;
        Ok(0)
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Answers a script: a line for each word that fits. What cannot be asked is not offered.
///
/// # Errors
/// Exit code 125 for flags that this build has not.
pub fn answer(words: &[String]) -> Result<String, Failure> {
    let info = Top::get_args_info();
    let last = words.last().map_or("", String::as_str);
    let mut given = BTreeMap::new();
    let next = next(&info, words, DIALECT, |flag, value| {
        given.insert(flag.to_owned(), value.to_owned());
    });
    let on = ["--tls", "--tlsverify"].map(|flag| given.contains_key(flag));
    let files = ["--tlscacert", "--tlscert", "--tlskey"].map(|flag| given.remove(flag));
    let host = given.remove("--host").unwrap_or_else(default_host);
    let session = Session { host, secure: Secure::new(on, files)?, client: OnceCell::new() };
    let mut found = match next {
        Next::Words(words) => words,
        Next::Value { name, command, flag } => match (words_of(name, command, flag), Kind::of(name, flag)) {
            (Some(words), _) => words,
            // Until it is clear that it is a path.
            _ if command == "cp" && !last.contains(['/', ':', '.']) => {
                let all = session.client().ok().map(|client| containers(client, command)).unwrap_or_default();
                let found: Vec<String> = all.into_iter().map(|name| name + ":").collect();
                if !found.iter().any(|name| name.starts_with(last)) {
                    return Ok(format!("{FILES}\n"));
                }
                found
            }
            (None, None) => return Ok(format!("{FILES}\n")),
            (None, Some(kind)) => session.client().ok().map(|client| kind.names(client, command)).unwrap_or_default(),
        },
        Next::Anything => return Ok(format!("{FILES}\n")),
    };
    // Of an option with its value only the value is sought.
    let (before, sought) = match last.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (format!("{flag}="), value),
        _ => (String::new(), last),
    };
    found.retain(|word| word.starts_with(sought));
    Ok(found.iter().map(|word| format!("{before}{word}\n")).collect())
}

/// Values that are known.
fn words_of(name: &str, command: &str, flag: &str) -> Option<Vec<String>> {
    let words = match (flag, command) {
        ("--restart", _) => "no always unless-stopped on-reboot on-failure",
        ("--pull", _) => "always missing never",
        ("--log-driver", _) => "json-file syslog none",
        ("--net" | "--network", _) => "none host container:",
        ("--filter", "ps") => return Some(super::ps::FILTERS.iter().map(|key| format!("{key}=")).collect()),
        _ if name == "SHELL" => "ash bash fish sh zsh",
        _ => return None,
    };
    Some(words.split(' ').map(str::to_owned).collect())
}

#[derive(Clone, Copy)]
enum Kind {
    Container,
    Image,
    Volume,
    All,
}

impl Kind {
    /// By the word in the usage line, or the option.
    fn of(name: &str, flag: &str) -> Option<Kind> {
        if flag == "--volumes-from" {
            return Some(Kind::Container);
        }
        Some(match name.trim_matches(['[', ']', '.']) {
            "CONTAINER" => Kind::Container,
            "IMAGE" | "SOURCE[:TAG" | "NAME[:TAG|@DIGEST" => Kind::Image,
            "VOLUME" => Kind::Volume,
            "CONTAINER|IMAGE|VOLUME" => Kind::All,
            _ => return None,
        })
    }

    fn names(self, client: &Client, command: &str) -> Vec<String> {
        match self {
            Kind::Container => containers(client, command),
            Kind::Image => images(client),
            Kind::Volume => volumes(client),
            Kind::All => [containers(client, command), images(client), volumes(client)].concat(),
        }
    }
}

/// Those that the command can be about.
fn containers(client: &Client, command: &str) -> Vec<String> {
    let states: &[&str] = match command {
        "attach" | "exec" | "kill" | "pause" | "port" | "stop" | "top" => &["running"],
        "start" => &["created", "exited"],
        "unpause" => &["paused"],
        _ => &[],
    };
    let mut request = ListRequest { all: true, ..ListRequest::default() };
    if !states.is_empty() {
        request.filters.insert("status".into(), states.iter().map(|state| state.to_string()).collect());
    }
    let mut names = Vec::new();
    let _ = client.container_list(&request, |c| {
        names.extend(c.names.first().map(|name| name.trim_start_matches('/').to_owned()));
    });
    names
}

fn volumes(client: &Client) -> Vec<String> {
    let volumes = client.volume_list(&Filters::new()).map(|list| list.volumes).unwrap_or_default();
    volumes.into_iter().map(|volume| volume.name).collect()
}

fn images(client: &Client) -> Vec<String> {
    let images = client.image_list(&ImageListRequest::default()).unwrap_or_default();
    images.into_iter().flat_map(|image| image.repo_tags).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_one_word() {
        let text = r"it's a \ and a $x";
        let shell =
            std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output().unwrap();
        assert_eq!(shell.stdout, text.as_bytes());
    }

    #[test]
    fn words_of_the_usage_line() {
        for name in
            ["CONTAINER", "CONTAINER...", "[CONTAINER...]", "IMAGE", "SOURCE[:TAG]", "NAME[:TAG|@DIGEST]", "VOLUME..."]
        {
            assert!(Kind::of(name, "").is_some(), "{name}");
        }
        assert!(Kind::of("file", "").is_none());
    }
}

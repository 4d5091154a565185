//! The tab key, help, and manual pages.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains};
use crate::{requires, tests};
use std::fs;
use std::process::Command;

tests![
    words_are_completed,
    without_a_daemon,
    bash_completes,
    any_shell_reads_the_script_for_all,
    help_of_commands,
    unknown_shells_are_refused,
];

fn ask(bed: &Bed, words: &[&str]) -> Vec<String> {
    let mut command = bed.applet("isula");
    let out = command.arg("__complete").args(words).output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn words_are_completed(bed: &mut Bed) {
    requires!(completion);
    bed.start();
    bed.run_detached("runs", "", "payload ready 1000");
    bed.isula(&format!("create --name made {IMAGE} true")).ok();
    bed.isula("volume create data").ok();
    for (words, want) in [
        (&["ru"][..], &["run"][..]),
        (&["volume", ""], &["create", "inspect", "ls", "prune", "rm", "list", "remove"]),
        (&["container", "st"], &["start", "stats", "stop"]),
        (&["help", "ru"], &["run"]),
        (&["help", "volume", "l"], &["ls", "list"]),
        (&["help", "run", ""], &[]),
        (&["completion", ""], &["ash", "bash", "fish", "sh", "zsh"]),
        (&["run", "--restart", "on-"], &["on-reboot", "on-failure"]),
        (&["run", "--pull=m"], &["--pull=missing"]),
        (&["run", "--net", "h"], &["host"]),
        (&["create", "--log-driver", "json"], &["json-file"]),
        (&["ps", "-f", "na"], &["name="]),
        (&["run", "--volumes-from", "ma"], &["made"]),
        (&["inspect", "da"], &["data"]),
        (&["cp", "ma"], &["made:"]),
        (&["cp", "/et"], &[":files"]),
        (&["run", "--versio"], &[]),
        (&["exec", ""], &["runs"]),
        (&["start", ""], &["made"]),
        (&["unpause", ""], &[]),
        (&["rm", "-f", "m"], &["made"]),
        (&["rm", "made", "r"], &["runs"]),
        (&["run", "-it", "b"], &["box:latest"]),
        (&["run", "--netw"], &["--network"]),
        (&["run", "-v", ""], &[":files"]),
        (&["run", "box", "l"], &[":files"]),
        (&["volume", "rm", ""], &["data"]),
        (&["container", "rm", "ma"], &["made"]),
        (&["tag", "box:l"], &["box:latest"]),
        (&["inspect", "box"], &["box:latest"]),
        (&["run", "--rm", "nosuch"], &[]),
    ] {
        if matches!(words[0], "container" | "cp") && !cfg!(feature = "image-tools") {
            continue;
        }
        assert_eq!(ask(bed, words), want, "{words:?}");
    }
    assert!(ask(bed, &["ps", "--"]).contains(&"--no-trunc".to_owned()));
    assert!(ask(bed, &[""]).len() > 30);
    assert!(ask(bed, &["rm", ""]).len() == 2);
}

fn without_a_daemon(bed: &mut Bed) {
    requires!(completion);
    for words in [&["rm", ""][..], &["run", ""], &[]] {
        let got = ask(bed, words);
        assert!(got.iter().all(|line| line == ":files"), "{got:?}");
    }
    assert_eq!(ask(bed, &["vers"]), ["version"]);
    // Those of the daemon that is named are offered.
    let socket = format!("unix://{}", bed.socket().display());
    bed.start();
    bed.isula(&format!("create --name made {IMAGE} true")).ok();
    let ask = |words: &[&str]| {
        let mut command = bed.applet("isula");
        let out = command.arg("__complete").args(words).env("ISULAD_HOST", "unix:///nowhere").output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!((ask(&["rm", ""]).as_str(), ask(&["-H", &socket, "rm", ""]).as_str()), ("", "made\n"));
}

/// A real shell's tab key, as the line editor calls what is registered.
fn bash_completes(bed: &mut Bed) {
    requires!(completion, bash);
    bed.start();
    bed.isula(&format!("create --name made {IMAGE} true")).ok();
    for script in ["bash", "sh"] {
        let path = bed.dir.join("script");
        fs::write(&path, bed.isula(&format!("completion {script}")).ok() + "\n").unwrap();
        // Nothing is cut where the shell does not cut.
        let whole = format!(
            "isula() {{ {} isula \"$@\"; }}\n. {}\nCOMP_WORDBREAKS=' '\nCOMP_LINE='isula run box:lat' COMP_POINT=17\n_isula\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            crate::support::bed::binary().display(),
            path.display()
        );
        let socket = format!("unix://{}", bed.socket().display());
        let out = Command::new("bash").arg("-c").arg(whole).env("ISULAD_HOST", socket).output().unwrap();
        assert_eq!(out.stdout, b"box:latest\n", "{}", String::from_utf8_lossy(&out.stderr));
        for (line, want) in
            [("isula rm -f ma", "made"), ("isula run box:lat", "latest"), ("isula ima", "images\nimage")]
        {
            // The words as bash cuts them, at colons as well.
            let words: Vec<String> = line.replace(':', " : ").split(' ').map(|word| format!("'{word}'")).collect();
            let text = format!(
                "isula() {{ {} isula \"$@\"; }}\n. {}\nCOMP_WORDBREAKS=$' \\t\\n:='\nCOMP_LINE='{line}' COMP_POINT={} COMP_WORDS=({}) COMP_CWORD={}\n\
                 _isula\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
                crate::support::bed::binary().display(),
                path.display(),
                line.len(),
                words.join(" "),
                words.len() - 1
            );
            let mut command = Command::new("bash");
            let out = command
                .arg("-c")
                .arg(text)
                .env("ISULAD_HOST", format!("unix://{}", bed.socket().display()))
                .output()
                .unwrap();
            let mut got: Vec<&str> = std::str::from_utf8(&out.stdout).unwrap().lines().collect();
            let mut want: Vec<&str> = want.lines().collect();
            if !cfg!(feature = "image-tools") {
                want.retain(|word| *word != "image");
            }
            got.sort_unstable();
            want.sort_unstable();
            assert_eq!(got, want, "{line} {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

fn any_shell_reads_the_script_for_all(bed: &mut Bed) {
    requires!(completion, bash);
    let path = bed.dir.join("script");
    let out = bed.applet("isula").args(["completion", "sh"]).output().unwrap();
    let same = bed.applet("isula").args(["completion", "ash"]).output().unwrap();
    assert_eq!(out.stdout, same.stdout);
    fs::write(&path, &out.stdout).unwrap();
    for shell in [&["busybox", "ash"][..], &["dash"], &["bash"]] {
        let out =
            Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(format!(". {}; echo well", path.display())).output();
        let out = out.unwrap();
        assert_eq!((out.stdout.as_slice(), out.stderr.as_slice()), (&b"well\n"[..], &b""[..]), "{shell:?}");
    }
    for shell in ["zsh", "fish"] {
        let out = bed.applet("isula").args(["completion", shell]).output().unwrap();
        contains(&String::from_utf8(out.stdout).unwrap(), "isula __complete");
    }
}

fn help_of_commands(bed: &mut Bed) {
    let text = |words: &[&str]| {
        let out = bed.applet("isula").args(words).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    for (short, long) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "run"], &["run", "--help"]),
        (&["help", "volume"], &["volume", "--help"]),
        (&["help", "volume", "rm"], &["volume", "rm", "--help"]),
    ] {
        assert_eq!(text(short), text(long));
        assert_eq!(text(short).0, 0);
    }
    let (code, screen) = text(&["help", "nosuch"]);
    assert_eq!(code, 1);
    contains(&screen, "command \"nosuch\" not found");
}

fn unknown_shells_are_refused(bed: &mut Bed) {
    requires!(completion);
    let out = bed.applet("isula").args(["completion", "tcsh"]).output().unwrap();
    assert_eq!(out.status.code(), Some(125));
    contains(
        &String::from_utf8(out.stderr).unwrap(),
        "no completion for shell \"tcsh\": want bash, zsh, fish, sh or ash",
    );
}

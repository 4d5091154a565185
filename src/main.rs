//! The one executable: finds the applet by `argv[0]` or by the first word and runs it.

fn main() -> std::process::ExitCode {
    isulabox::applet::dispatch(std::env::args_os().collect())
}

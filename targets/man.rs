//! man DIRECTORY: writes the manual pages of all programs, from the tables by which they read their words.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("man DIRECTORY")?);
    let mut pages = isulabox::cmd::isula::pages();
    pages.extend(isulabox::cmd::isulad::pages());
    #[cfg(feature = "lcr")]
    pages.extend(isulabox::cmd::runtime::pages());
    for (name, text) in pages {
        let section = name.rsplit('.').next().unwrap_or_default();
        let directory = directory.join(format!("man{section}"));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

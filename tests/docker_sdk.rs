//! Docker's SDK for Python, pointed at our socket: what is done with it is in `docker_sdk.py`.

use crate::support::bed::Bed;
use crate::support::{command, requires};
use crate::{requires, tests};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

tests![sdk_system, sdk_images, sdk_options, sdk_containers, sdk_streams, sdk_files, sdk_volumes, sdk_events,];

/// Runs a group of steps.
fn steps(bed: &mut Bed, group: &str) {
    requires!(docker_sdk, image_tools);
    bed.start();
    let mut command = Command::new(requires::python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker_sdk.py")).arg(group);
    command.env("DOCKER_HOST", format!("unix://{}", bed.socket().display())).env("PYTHONDONTWRITEBYTECODE", "1");
    command::run(command, format!("docker_sdk.py {group}"), b"", Duration::from_secs(120)).ok();
}

fn sdk_system(bed: &mut Bed) {
    steps(bed, "system");
}

fn sdk_images(bed: &mut Bed) {
    steps(bed, "images");
}

fn sdk_options(bed: &mut Bed) {
    steps(bed, "options");
}

fn sdk_containers(bed: &mut Bed) {
    steps(bed, "containers");
}

fn sdk_streams(bed: &mut Bed) {
    steps(bed, "streams");
}

fn sdk_files(bed: &mut Bed) {
    steps(bed, "files");
}

fn sdk_volumes(bed: &mut Bed) {
    steps(bed, "volumes");
}

fn sdk_events(bed: &mut Bed) {
    steps(bed, "events");
}

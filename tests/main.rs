//! The integration tests: real containers through the real daemon, client and shim, a module per area.

mod api;
mod archives;
mod authz;
mod bad_input;
mod bundles;
mod clock;
mod completion;
mod cp;
mod cp_traps;
mod daemon_config;
mod docker_client;
mod docker_sdk;
mod edit;
mod embedded;
mod events;
mod exec;
mod faults;
mod full_disk;
mod health;
mod hooks;
mod image_tools;
mod images;
mod init;
mod isolation;
mod lifecycle;
mod load;
mod logs;
mod metrics;
mod mounts;
mod multicall;
#[cfg(feature = "other-runtimes")]
mod other_runtimes;
mod peers;
mod proof;
mod pull;
mod pull_faults;
#[cfg(feature = "registry")]
mod registry;
mod remains;
mod remap;
mod remote;
mod resources;
mod restart;
mod restore;
mod rootless;
mod runtime;
mod schema_1;
mod search;
mod security;
mod shim_versions;
mod space;
mod spellings;
mod storage;
mod store;
mod streams;
mod support;
#[cfg(feature = "syslog")]
mod syslog;
mod system_containers;
mod systemd;
mod users;
mod volume_copies;
mod volumes;

use std::process::ExitCode;

/// How many of all may be skipped (no docker client, a kernel without a controller) before the run counts as failed.
const MAY_SKIP: usize = 40;

fn main() -> ExitCode {
    let tests = [
        multicall::TESTS,
        rootless::TESTS,
        systemd::TESTS,
        runtime::TESTS,
        bundles::TESTS,
        peers::TESTS,
        #[cfg(feature = "other-runtimes")]
        other_runtimes::TESTS,
        daemon_config::TESTS,
        image_tools::TESTS,
        health::TESTS,
        hooks::TESTS,
        images::TESTS,
        init::TESTS,
        completion::TESTS,
        cp::TESTS,
        cp_traps::TESTS,
        archives::TESTS,
        pull::TESTS,
        pull_faults::TESTS,
        schema_1::TESTS,
        search::TESTS,
        proof::TESTS,
        store::TESTS,
        system_containers::TESTS,
        faults::TESTS,
        full_disk::TESTS,
        space::TESTS,
        spellings::TESTS,
        storage::TESTS,
        edit::TESTS,
        embedded::TESTS,
        #[cfg(feature = "registry")]
        registry::TESTS,
        lifecycle::TESTS,
        events::TESTS,
        exec::TESTS,
        streams::TESTS,
        logs::TESTS,
        #[cfg(feature = "syslog")]
        syslog::TESTS,
        isolation::TESTS,
        security::TESTS,
        users::TESTS,
        remap::TESTS,
        mounts::TESTS,
        volumes::TESTS,
        volume_copies::TESTS,
        resources::TESTS,
        remains::TESTS,
        restart::TESTS,
        restore::TESTS,
        shim_versions::TESTS,
        bad_input::TESTS,
        clock::TESTS,
        api::TESTS,
        docker_client::TESTS,
        docker_sdk::TESTS,
        remote::TESTS,
        authz::TESTS,
        metrics::TESTS,
        load::TESTS,
    ];
    support::runner::main(&tests.concat(), MAY_SKIP)
}

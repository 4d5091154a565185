//! isulabox: a container engine for boards in one static binary. This page is the architecture.
//!
//! # Processes
//! One executable, four kinds of process, each with its own law:
//!
//! | applet | law | does |
//! | --- | --- | --- |
//! | `isula` | one thread, and one that speaks TLS with a daemon on the network | client: words on a command line become requests |
//! | `isulad` | threads; never enters a namespace, never forks by hand | REST server, images, container policy |
//! | `isulad-shim` | one poll loop, no thread, one per container | parent of the container: its stdio, log, exit |
//! | `lcr` | one thread until exec | the engine as an OCI runtime |
//!
//! # Layers
//! `cmd → client → api`; `entry → executor → modules → utils`; `cmd/shim`, `cmd/runtime → engine → utils`. `cmd/isulad`
//! may name all, only to wire them. Nothing points up; `api` and `error` import no layer but `utils::time`. `engine`
//! and `modules` do not know each other: they meet over a process boundary, in the messages of [`api::shim`].

//!
//! # Threads of the daemon
//! | thread | waits on | ends |
//! | --- | --- | --- |
//! | main | listening sockets | when the signal thread stops the listener |
//! | `signals` | signalfd of SIGTERM, SIGINT, SIGHUP | with the process |
//! | `monitor` | the sockets of all shims, clients that wait for a start | with the process |
//! | `rest` | one connection | with its connection; there is a bound on their number |
//! | `tls` | a client that is greeted, then both sides of its connection | with its connection; with the daemon also those that follow a container |
//! | `pull` | a layer of one pull: a registry, the disk; two a pull unless set otherwise | with its pull |
//! | `pull-watch` | the client for whom a registry is asked | with the request |
//! | `worker` | its queue: exits, removals; four at most | after two seconds without work |

#[cfg(target_pointer_width = "32")]
const _: () =
    assert!(size_of::<libc::time_t>() == 8, "build with --cfg=libc_unstable_time64: times must not end in 2038");

pub mod api;
pub mod applet;
pub mod client;
pub mod cmd;
pub mod engine;
pub mod entry;
pub mod error;
pub mod executor;
pub mod modules;
pub mod utils;

//! Starts the servers of live tests and ends them with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; it ends when dropped, or when the pipe to it breaks because this process did.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts `tests/live/servers/{script}`. Without `SLUICE_LIVE=1` it says that the test is not run, and returns nothing.
///
/// # Panics
/// `SLUICE_LIVE=1` is set and the server does not start.
#[expect(clippy::print_stdout, reason = "a test that is not run must say so")]
pub(crate) fn start(script: &str) -> Option<Server> {
    if std::env::var_os("SLUICE_LIVE").is_none_or(|value| value != "1") {
        println!("not run: needs tests/live/servers/{script}; set SLUICE_LIVE=1 or run `make test-live`");
        return None;
    }
    // A test cannot set them for itself: changing the environment of a running process is unsafe.
    for (name, value) in [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "eu-central-1")] {
        let is_set = std::env::var(name).is_ok_and(|found| found == value);
        assert!(is_set, "set {name}={value}, as `make test-live` does: a live test must not find the credentials of a real account");
    }
    // This file is part of tests of the whole and of those of a stage.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if root.join("tests/live").is_dir() { root.to_owned() } else { root.join("..") };
    let path = root.join("tests/live/servers").join(script);
    let mut child = Command::new(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", path.display()));
    let mut line = String::new();
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("its first line");
    let url = line.trim().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{} did not start (see above): run it by hand to see why", path.display());
    Some(Server { url, child })
}

//! A Valkey of a test's own: one whose settings may be changed.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server on a free port of the loopback, killed in the end.
pub struct Valkey {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Valkey {
    /// The program is what `HEARTH_TEST_REDIS_SERVER` names, or the one of `scripts/tools servers`; `None`, and a line
    /// that says so, where there is none.
    pub fn start() -> Option<Self> {
        let installed = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../.tools/bin/valkey-server"
        );
        let named = std::env::var_os("HEARTH_TEST_REDIS_SERVER").map(PathBuf::from);
        let program = named.unwrap_or_else(|| installed.into());
        if !program.exists() {
            println!("SKIPPED: there is no valkey-server: scripts/tools servers");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(port.to_string())
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            port,
            child,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes one of its settings.
    pub fn set(&self, name: &str, value: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "CONFIG SET {name} {value}\r\n").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "+OK");
    }
}

//! Logs in to a machine as a person would: from the host, with the system's SSH client, by key.

use std::net::SocketAddrV4;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use harness::{Error, Result, tools};
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long a login may take. The first one waits until the guest has generated its host key, which
/// is slow under emulation.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// Options by which the client ignores the user's configuration, does not prompt, and remembers no
/// host: different machines use the same loopback ports one after another.
const OPTIONS: [&str; 8] = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "PreferredAuthentications=publickey",
    "LogLevel=ERROR",
];

/// A key pair that is generated for one run.
#[derive(Debug)]
pub struct Key {
    file: Utf8PathBuf,
    public: String,
}

impl Key {
    /// Generates a key pair in `dir`.
    ///
    /// # Errors
    /// `ssh-keygen` is missing or failed.
    pub async fn generate(dir: &Utf8Path) -> Result<Self> {
        let file = dir.join("login-key");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "roundtrip", "-f", file.as_str()];
        tools::run("ssh-keygen", &arguments).await?;
        let path = dir.join("login-key.pub");
        let public = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        Ok(Self { file, public: public.trim().to_owned() })
    }

    /// The public key, as a line of `authorized_keys`.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }
}

/// The result of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// It succeeded, and the command printed this.
    Printed(String),
    /// The connection was refused, because nothing listens on the port.
    Refused,
    /// The connection was accepted, but the login failed with this error of the client.
    Failed(String),
}

/// Logs in as root and runs `command`.
///
/// # Errors
/// The client is missing, or did not end in time.
pub async fn log_in(at: SocketAddrV4, key: &Key, command: &str) -> Result<Login> {
    // The system's error code is reliable; the client's text for a refused connection is not.
    match TcpStream::connect(at).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(Login::Refused),
        Err(error) => return Err(Error::file(at.to_string())(error)),
    }
    let client = client(at, key, command).kill_on_drop(true).output();
    let output = tokio::time::timeout(LOGIN_WITHIN, client).await.map_err(|_| Error::TimedOut {
        awaited: format!("a login at {at}"),
        bound: LOGIN_WITHIN,
        seen: "the client still runs".to_owned(),
    })?;
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Missing { what: "ssh".to_owned(), found: "no such program".to_owned() }
        }
        _ => Error::file("ssh")(error),
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() {
        Login::Printed(text(&output.stdout))
    } else {
        Login::Failed(text(&output.stderr))
    })
}

fn client(at: SocketAddrV4, key: &Key, command: &str) -> Command {
    let mut client = Command::new("ssh");
    client.args(["-F", "none", "-i", key.file.as_str(), "-p", &at.port().to_string()]);
    client.args(OPTIONS.iter().flat_map(|option| ["-o", option]));
    client.arg(format!("root@{}", at.ip())).args(["--", command]);
    client.stdin(std::process::Stdio::null());
    client
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A key, and the directory that must exist as long as it is used.
    async fn key() -> (tempfile::TempDir, Key) {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = Utf8Path::from_path(dir.path()).unwrap_or_else(|| panic!("{dir:?}"));
        let key = Key::generate(path).await.unwrap_or_else(|error| panic!("{error}"));
        (dir, key)
    }

    async fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap_or_else(|error| panic!("{error}"))
        else {
            panic!("no IPv4 address")
        };
        (listener, at)
    }

    #[tokio::test]
    async fn a_login_is_refused_if_nothing_listens() {
        let (_dir, key) = key().await;
        assert!(key.public().starts_with("ssh-ed25519 "));
        let (listener, at) = listener().await;
        drop(listener);
        assert_eq!(log_in(at, &key, "true").await.ok(), Some(Login::Refused));
    }

    #[tokio::test]
    async fn a_login_fails_with_the_clients_error_if_the_server_hangs_up() {
        let (_dir, key) = key().await;
        let (listener, at) = listener().await;
        let hang_up = async {
            loop {
                drop(listener.accept().await);
            }
        };
        let login = tokio::select! {
            login = log_in(at, &key, "true") => login.ok(),
            () = hang_up => None,
        };
        assert!(matches!(&login, Some(Login::Failed(error)) if !error.is_empty()), "{login:?}");
    }
}

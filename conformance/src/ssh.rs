//! Logging in to a machine as a person would: with the system's own SSH client, from the host, by key.

use std::net::SocketAddrV4;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use harness::{Error, Result, tools};
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long a login may take. The first one waits for the guest to make its host key, under emulation.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// Reads nothing of the user's, asks nobody, remembers nothing: machines come and go behind the same loopback ports.
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

/// A key pair, made for one run.
#[derive(Debug)]
pub struct Key {
    file: Utf8PathBuf,
    public: String,
}

impl Key {
    /// Makes one in `dir`.
    ///
    /// # Errors
    /// `ssh-keygen` is missing or failed.
    pub async fn make(dir: &Utf8Path) -> Result<Self> {
        let file = dir.join("login-key");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "roundtrip", "-f", file.as_str()];
        tools::run("ssh-keygen", &arguments).await?;
        let path = dir.join("login-key.pub");
        let public = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        Ok(Self { file, public: public.trim().to_owned() })
    }

    /// The line for those who shall let it in.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }
}

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// It succeeded, and the command printed this.
    Said(String),
    /// Nobody listens: the system refused the connection.
    Refused,
    /// Somebody took the connection, and no login came of it: the client's words.
    Failed(String),
}

/// Logs in as root and runs `command`.
///
/// # Errors
/// The client is missing, or nothing came of it for a minute.
pub async fn log_in(at: SocketAddrV4, key: &Key, command: &str) -> Result<Login> {
    // The client's words for a refusal are for people; the system's answer is not to be mistaken.
    match TcpStream::connect(at).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(Login::Refused),
        Err(error) => return Err(Error::file(at.to_string())(error)),
    }
    let client = client(at, key, command).kill_on_drop(true).output();
    let output = tokio::time::timeout(LOGIN_WITHIN, client).await.map_err(|_| Error::TimedOut {
        awaited: format!("a login at {at}"),
        bound: LOGIN_WITHIN,
        seen: "the client is still at it".to_owned(),
    })?;
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Missing { what: "ssh".to_owned(), found: "no such program".to_owned() }
        }
        _ => Error::file("ssh")(error),
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() {
        Login::Said(text(&output.stdout))
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

    /// A key in a folder that lives as long as the first of both.
    async fn key() -> (tempfile::TempDir, Key) {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = Utf8Path::from_path(dir.path()).unwrap_or_else(|| panic!("{dir:?}"));
        let key = Key::make(path).await.unwrap_or_else(|error| panic!("{error}"));
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
    async fn where_nobody_listens_a_login_is_refused() {
        let (_dir, key) = key().await;
        assert!(key.public().starts_with("ssh-ed25519 "));
        let (listener, at) = listener().await;
        drop(listener);
        assert_eq!(log_in(at, &key, "true").await.ok(), Some(Login::Refused));
    }

    #[tokio::test]
    async fn where_somebody_hangs_up_it_fails_in_the_clients_words() {
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
        assert!(matches!(&login, Some(Login::Failed(words)) if !words.is_empty()), "{login:?}");
    }
}

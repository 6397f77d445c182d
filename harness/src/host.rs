//! The test host: a connection to libvirt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::Utf8PathBuf;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::{Error, Result};

/// The longest that libvirt may take for one call. After its own start it may ask QEMU for most of
/// a minute what it can do; every other call takes seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// The same once a call came to no end: a run takes its guests down one after the other.
const ANSWERS_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Whether the last call of this process came to no end.
static SILENT: AtomicBool = AtomicBool::new(false);

/// libvirt on this machine. Clones share the connection.
#[derive(Clone)]
pub struct Host {
    connect: Arc<Connect>,
    uri: String,
    confined_by: Vec<String>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// The URI to use if none is given: the system daemon for root, the user's own session otherwise.
#[must_use]
pub fn default_uri() -> &'static str {
    if rustix::process::getuid().is_root() { "qemu:///system" } else { "qemu:///session" }
}

impl Host {
    /// Connects to `uri`, or to the default.
    ///
    /// # Errors
    /// No daemon answers.
    pub async fn connect(uri: Option<&str>) -> Result<Self> {
        let uri = uri.unwrap_or_else(|| default_uri()).to_owned();
        let asked = uri.clone();
        let connect = blocking(format!("connect to {uri}"), move || {
            virt::error::clear_error_callback();
            Connect::open(Some(&asked))
        })
        .await?;
        let connect = Arc::new(connect);
        let shared = Arc::clone(&connect);
        let capabilities = blocking("read capabilities", move || shared.capabilities()).await?;
        let confined_by = ["apparmor", "selinux"]
            .into_iter()
            .filter(|model| capabilities.contains(&format!("<model>{model}</model>")))
            .map(ToOwned::to_owned)
            .collect();
        Ok(Self { connect, uri, confined_by })
    }

    /// The connection's URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Security drivers other than plain file ownership that confine guests on this host.
    #[must_use]
    pub fn confined_by(&self) -> &[String] {
        &self.confined_by
    }

    /// Whether guests run under the system daemon, which would otherwise run them as another user.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.uri.ends_with("/system")
    }

    /// Path of the log that libvirt keeps of a domain.
    #[must_use]
    pub fn domain_log(&self, name: &str) -> Utf8PathBuf {
        let file = format!("{name}.log");
        if self.is_system() {
            return Utf8PathBuf::from("/var/log/libvirt/qemu").join(file);
        }
        let cache = std::env::var("XDG_CACHE_HOME").map(Utf8PathBuf::from);
        let cache =
            cache.or_else(|_| std::env::var("HOME").map(|home| Utf8PathBuf::from(home).join(".cache")));
        cache.unwrap_or_default().join("libvirt/qemu/log").join(file)
    }

    /// Versions of libvirt and of the hypervisor it drives, as `major.minor.micro`.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn versions(&self) -> Result<(String, String)> {
        let connect = Arc::clone(&self.connect);
        let (libvirt, qemu) =
            blocking("read versions", move || Ok((connect.lib_version()?, connect.hyp_version()?))).await?;
        let dotted = |n: u32| format!("{}.{}.{}", n / 1_000_000, n / 1_000 % 1_000, n % 1_000);
        Ok((dotted(libvirt), dotted(qemu)))
    }

    /// Defines a domain.
    ///
    /// # Errors
    /// libvirt does not accept the description.
    pub async fn define(&self, xml: String) -> Result<Domain> {
        let connect = Arc::clone(&self.connect);
        blocking("define a domain", move || connect.define_domain_xml(&xml)).await
    }

    /// The UUID of the domain of this name, if there is one.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn uuid_of(&self, name: &str) -> Result<Option<String>> {
        let (connect, name) = (Arc::clone(&self.connect), name.to_owned());
        blocking("look for a domain", move || match connect.lookup_domain_by_name(&name) {
            Ok(domain) => domain.uuid_string().map(Some),
            Err(error) if error.code().is(virt::error::ErrorNumber::NoDomain) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Every domain, running or not, with its description.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn domains(&self) -> Result<Vec<(Domain, String)>> {
        let connect = Arc::clone(&self.connect);
        blocking("list domains", move || {
            let all = connect.list_all_domains(0)?;
            // A domain may vanish after it was listed; then it is not ours.
            Ok(all.into_iter().filter_map(|d| d.xml_desc(0).ok().map(|xml| (d, xml))).collect())
        })
        .await
    }
}

impl Drop for Host {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is a connection and no guest, and only this keeps it open"
    )]
    fn drop(&mut self) {
        // Closing a connection asks libvirt. One to a libvirt that does not answer stays open until
        // the process ends.
        if SILENT.load(Ordering::SeqCst) {
            std::mem::forget(Arc::clone(&self.connect));
        }
    }
}

/// Runs a libvirt call, which blocks, away from the asynchronous threads. One that comes to no end
/// keeps its thread until the process ends.
pub(crate) async fn blocking<T: Send + 'static>(
    tried: impl Into<String>,
    call: impl FnOnce() -> Result<T, virt::error::Error> + Send + 'static,
) -> Result<T> {
    let was_silent = SILENT.load(Ordering::SeqCst);
    let bound = if was_silent { ANSWERS_AGAIN_WITHIN } else { ANSWERS_WITHIN };
    let ended = within(bound, tried.into(), call).await;
    SILENT.store(matches!(ended, Err(Error::Silent { .. })), Ordering::SeqCst);
    ended
}

async fn within<T: Send + 'static>(
    bound: Duration,
    tried: String,
    call: impl FnOnce() -> Result<T, virt::error::Error> + Send + 'static,
) -> Result<T> {
    match tokio::time::timeout(bound, tokio::task::spawn_blocking(call)).await {
        Ok(Ok(result)) => result.map_err(|error| Error::Libvirt { tried, error }),
        Ok(Err(panicked)) => Err(Error::Tool {
            tool: "libvirt".to_owned(),
            arguments: tried,
            output: format!("the call did not end: {panicked}"),
        }),
        Err(_) => Err(Error::Silent { tried, bound }),
    }
}

/// Ends a domain and removes its definition. Succeeds if it is already gone.
///
/// # Errors
/// libvirt refused for a reason other than that there is no such domain. A domain that goes on
/// keeps its definition.
pub async fn remove(domain: Domain) -> Result<()> {
    blocking("remove a domain", move || end_and_undefine(&domain)).await
}

fn end_and_undefine(domain: &Domain) -> Result<(), virt::error::Error> {
    let is_active = || domain.is_active().unwrap_or(false);
    if is_active()
        && let Err(error) = domain.destroy()
        // It may have ended by itself at this moment.
        && is_active()
    {
        return Err(error);
    }
    let with = sys::VIR_DOMAIN_UNDEFINE_NVRAM
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
    match domain.undefine_flags(with) {
        Err(error) if !error.code().is(virt::error::ErrorNumber::NoDomain) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_cannot_be_ended_is_not_reported_as_removed() {
        virt::error::clear_error_callback();
        // A driver of libvirt that needs no daemon. It has one domain, which runs.
        let connect = Connect::open_read_only(Some("test:///default")).expect("a connection");
        let running = connect.list_all_domains(0).expect("domains").remove(0);
        let error = end_and_undefine(&running).expect_err("the connection is only for reading");
        assert!(error.message().contains("virDomainDestroy"), "{error}");
        assert!(running.is_active().expect("an answer"));
    }

    #[tokio::test]
    async fn a_call_that_comes_to_no_end_is_given_up() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let call = move || {
            // Ends once the test has seen that nobody waited for it.
            let _ = wait.recv();
            Ok(())
        };
        let ended = within(Duration::from_millis(20), "ask".to_owned(), call).await;
        let error = ended.expect_err("nobody answers").to_string();
        assert!(error.contains("ask") && error.contains("did not answer") && error.lines().count() == 1);
        drop(release);
        assert_eq!(within(ANSWERS_WITHIN, "ask".to_owned(), || Ok(7)).await.expect("an answer"), 7);
    }
}

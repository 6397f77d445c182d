//! Keys and values of the hive SYSTEM, and what differs between two states of it.

use std::collections::{BTreeMap, BTreeSet};

use regf::RegistryHive;
use regf::hive::RegistryKey;
use regf::structures::KeySecurity;

use crate::VolumeError;

/// Length of the header of a hive, before its cells, in bytes.
const HEADER: usize = 4096;
/// Length of the size of a cell, before its content, in bytes.
const CELL_SIZE: usize = 4;
/// Offset of a value's data in its cell, if the data is so short that it is there.
const DATA_IN_VALUE: usize = 8;
/// Type of a value that is a number of 32 bits.
const NUMBER: u32 = 4;
/// Most bytes of paths, values and descriptors that a hive may hold, taken together: many times
/// what one of a small volume has. The path of a key repeats those above it, so that the paths of
/// a small hive can take gigabytes.
const MOST_HELD: usize = 64 << 20;

/// When a driver or service starts, as the hive stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartType(pub u32);

impl StartType {
    /// By the boot loader.
    pub const BOOT: Self = Self(0);
    /// By the service control manager, on its own.
    pub const AUTOMATIC: Self = Self(2);
    /// On demand.
    pub const MANUAL: Self = Self(3);
    /// Never.
    pub const DISABLED: Self = Self(4);
}

impl std::fmt::Display for StartType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["boot", "system", "automatic", "manual", "disabled"];
        match names.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A key, without the time of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    class: Option<String>,
    security: Vec<u8>,
    values: BTreeMap<String, Value>,
}

impl Key {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let values =
            self.values.iter().map(|(name, value)| size_of::<Value>() + name.len() + value.data.len());
        size_of::<Self>() + self.security.len() + values.sum::<usize>()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    kind: u32,
    data: Vec<u8>,
    /// Offset of the data in the hive, if the value itself holds it. Not compared.
    at: At,
}

/// A place, which is equal to every other place.
#[derive(Clone, Copy, Debug)]
struct At(Option<u64>);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// The content of a hive: keys by their path, and their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    keys: BTreeMap<String, Key>,
    current: u32,
}

impl Registry {
    /// Reads a hive.
    ///
    /// # Errors
    /// It is damaged, has a write that did not end, or does not say which control set is current.
    pub fn read(hive: &[u8]) -> Result<Self, VolumeError> {
        let opened = RegistryHive::from_bytes(hive.to_vec()).map_err(damaged)?;
        let header = opened.base_block();
        if !header.checksum_valid {
            return Err(VolumeError::Hive("its checksum is wrong".to_owned()));
        }
        if header.primary_sequence != header.secondary_sequence {
            return Err(VolumeError::Unfinished);
        }
        let mut keys = BTreeMap::new();
        let mut pending = vec![(String::new(), opened.root_key().map_err(damaged)?)];
        let mut left = MOST_HELD;
        let mut holds = |bytes: usize| {
            left = left.checked_sub(bytes).ok_or_else(|| {
                VolumeError::Hive(
                    "its paths and values take more memory than those of any small volume".to_owned(),
                )
            })?;
            Ok(())
        };
        while let Some((path, key)) = pending.pop() {
            for below in key.subkeys().map_err(damaged)? {
                let path = format!("{path}\\{}", below.name());
                holds(size_of::<RegistryKey<'_>>() + path.len())?;
                pending.push((path, below));
            }
            let key = read_key(hive, &key)?;
            holds(key.bytes())?;
            keys.insert(path, key);
        }
        let mut registry = Self { keys, current: 0 };
        registry.current = registry.number("\\Select", "Current")?;
        Ok(registry)
    }

    /// The control set that the machine starts with.
    #[must_use]
    pub const fn current(&self) -> u32 {
        self.current
    }

    /// Numbers of all control sets.
    #[must_use]
    pub fn control_sets(&self) -> Vec<u32> {
        self.keys.keys().filter_map(|path| path.strip_prefix("\\ControlSet")?.parse().ok()).collect()
    }

    /// The start type of a service in the current control set.
    ///
    /// # Errors
    /// There is no such service, or it has none.
    pub fn start(&self, service: &str) -> Result<StartType, VolumeError> {
        self.number(&service_key(self.current, service), START).map(StartType)
    }

    /// Offset in the hive of the four bytes of a service's start type.
    pub(crate) fn start_at(&self, set: u32, service: &str) -> Result<u64, VolumeError> {
        self.number_at(&service_key(set, service), START)
    }

    /// Offset in the hive of the four bytes of a number.
    pub(crate) fn number_at(&self, path: &str, name: &str) -> Result<u64, VolumeError> {
        let value = self.value(path, name)?;
        value.at.0.ok_or_else(|| VolumeError::NoKey(format!("number {path}\\{name}")))
    }

    fn number(&self, path: &str, name: &str) -> Result<u32, VolumeError> {
        let value = self.value(path, name)?;
        let data = value.data[..].try_into().ok().filter(|_| value.kind == NUMBER);
        let data = data.ok_or_else(|| VolumeError::NoKey(format!("number {path}\\{name}")))?;
        Ok(u32::from_le_bytes(data))
    }

    fn value(&self, path: &str, name: &str) -> Result<&Value, VolumeError> {
        // Names of keys and values are alike in upper and lower case.
        let key = self.keys.iter().find(|(known, _)| known.eq_ignore_ascii_case(path));
        let values = key.iter().flat_map(|(_, key)| &key.values);
        let mut found = values.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value);
        value.ok_or_else(|| VolumeError::NoKey(format!("{path}\\{name}")))
    }

    /// Everything in which this state differs from an earlier one, apart from times.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<Difference> {
        let paths: BTreeSet<_> = before.keys.keys().chain(self.keys.keys()).collect();
        let mut found = Vec::new();
        for path in paths {
            let (Some(old), Some(new)) = (before.keys.get(path), self.keys.get(path)) else {
                found.push(Difference::Other(path.clone()));
                continue;
            };
            if (&old.class, &old.security) != (&new.class, &new.security) {
                found.push(Difference::Other(path.clone()));
            }
            let names: BTreeSet<_> = old.values.keys().chain(new.values.keys()).collect();
            let differ = names.into_iter().filter(|name| old.values.get(*name) != new.values.get(*name));
            found.extend(differ.map(|name| difference(path, name, old, new)));
        }
        found
    }
}

/// Name of the value that holds a start type.
const START: &str = "Start";

fn service_key(set: u32, service: &str) -> String {
    format!("\\ControlSet{set:03}\\Services\\{service}")
}

fn read_key(hive: &[u8], key: &RegistryKey<'_>) -> Result<Key, VolumeError> {
    let mut values = BTreeMap::new();
    for entry in key.values().map_err(damaged)? {
        let held = (entry.raw_value().is_data_resident() && entry.data_size() == 4)
            .then(|| (HEADER + CELL_SIZE + DATA_IN_VALUE) as u64 + u64::from(entry.offset()));
        let data = entry.raw_data().map_err(damaged)?;
        let value = Value { kind: entry.raw_data_type(), data, at: At(held) };
        if values.insert(entry.name(), value).is_some() {
            return Err(VolumeError::Hive(format!("a key has two values {}", entry.name())));
        }
    }
    let security = key.raw_node().security_offset as usize;
    let security = hive.get(security.saturating_add(HEADER + CELL_SIZE)..).unwrap_or_default();
    let security = KeySecurity::parse(security).map_err(damaged)?.security_descriptor;
    Ok(Key { class: key.class_name().map_err(damaged)?, security, values })
}

fn damaged(error: regf::Error) -> VolumeError {
    VolumeError::Hive(error.to_string())
}

/// Something in which two states of a hive differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A driver or service has another start type.
    Start {
        /// The control set.
        set: u32,
        /// Name of the driver or service.
        service: String,
        /// Start type in the earlier state.
        before: StartType,
        /// Start type in the later state.
        after: StartType,
    },
    /// Anything else: the path of a key or value that was added, removed or changed.
    Other(String),
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start { set, service, before, after } => {
                write!(f, "{service} {before} → {after} (control set {set})")
            }
            Self::Other(path) => write!(f, "{path} differs"),
        }
    }
}

fn difference(path: &str, name: &str, old: &Key, new: &Key) -> Difference {
    let start = |key: &Key| {
        let value = key.values.get(name).filter(|value| value.kind == NUMBER)?;
        Some(StartType(u32::from_le_bytes(value.data[..].try_into().ok()?)))
    };
    let found = || {
        let (set, service) = path.strip_prefix("\\ControlSet")?.split_once("\\Services\\")?;
        let set = set.parse().ok()?;
        if name != START || service.contains('\\') {
            return None;
        }
        let service = service.to_owned();
        Some(Difference::Start { set, service, before: start(old)?, after: start(new)? })
    };
    found().unwrap_or_else(|| Difference::Other(format!("{path}\\{name}")))
}

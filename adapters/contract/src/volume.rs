//! Stored disk images, and their exports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, ComponentId, ExportId, VolumeId};

/// A stored disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeView {
    /// The volume.
    pub id: VolumeId,
    /// Size as a guest sees it, in bytes.
    pub size: Bytes,
    /// The volume below it, if it is a delta.
    pub parent: Option<VolumeId>,
    /// Bytes allocated for it in the site's storage.
    pub allocated: Bytes,
    /// Its datastore, at sites that have datastores.
    #[serde(default)]
    pub datastore: Option<ComponentId>,
}

/// Permitted use of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open export of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// Id with which to close it.
    pub id: ExportId,
    /// NBD URI to connect to.
    pub uri: String,
}

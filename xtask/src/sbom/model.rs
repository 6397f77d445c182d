//! The part of CycloneDX 1.5 that is written.

use serde::Serialize;

/// A bill of materials.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

/// What the bill is about.
#[derive(Serialize)]
pub struct Metadata {
    component: Application,
}

#[derive(Serialize)]
struct Application {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: &'static str,
    name: &'static str,
    version: &'static str,
}

/// A crate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// `library`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name by which dependencies refer to it.
    #[serde(rename = "bom-ref")]
    pub bom_ref: String,
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<License>,
    /// Its package URL; a crate of this repository has none, because it is not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_references: Vec<ExternalReference>,
    pub properties: Vec<Property>,
}

/// The digest of the archive of a crate.
#[derive(Serialize)]
pub struct Hash {
    alg: &'static str,
    content: String,
}

/// An SPDX expression.
#[derive(Serialize)]
pub struct License {
    pub expression: String,
}

/// A page about a crate.
#[derive(Serialize)]
pub struct ExternalReference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

/// A fact that the format has no field for.
#[derive(Serialize)]
pub struct Property {
    pub name: &'static str,
    pub value: String,
}

/// What a crate depends on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    #[serde(rename = "ref")]
    pub reference: String,
    pub depends_on: Vec<String>,
}

impl Bom {
    /// A bill without serial number and time, so that the same sources give the same bill.
    pub fn new(metadata: Metadata, components: Vec<Component>, dependencies: Vec<Dependency>) -> Self {
        let (bom_format, spec_version) = ("CycloneDX", "1.5");
        Self { bom_format, spec_version, version: 1, metadata, components, dependencies }
    }
}

impl Metadata {
    /// The bill of an application.
    pub fn of_application(bom_ref: &'static str, name: &'static str, version: &'static str) -> Self {
        Self { component: Application { kind: "application", bom_ref, name, version } }
    }
}

impl Hash {
    /// A SHA-256 digest in hexadecimal.
    pub fn sha_256(digest: &str) -> Self {
        Self { alg: "SHA-256", content: digest.to_owned() }
    }
}

/// Where the source of a crate is kept.
pub fn vcs(url: &str) -> ExternalReference {
    ExternalReference { kind: "vcs", url: url.to_owned() }
}

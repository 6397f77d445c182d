//! Codes of errors in answers.

/// The core refused or failed; `data` is a `CoreError`.
pub const CORE: i64 = -32000;
/// The platform refused or failed; `data` is a `PlatformError`.
pub const PLATFORM: i64 = -32001;
/// The major versions of the protocol differ; `data` has the supported version.
pub const VERSION: i64 = -32010;
/// The first message of a core must be `suite.connect`, and only the first.
pub const NOT_CONNECTED: i64 = -32011;
/// The request was cancelled by its sender.
pub const CANCELLED: i64 = -32800;
/// There is no such method.
pub const NO_METHOD: i64 = -32601;
/// The parameters do not fit the method.
pub const BAD_PARAMS: i64 = -32602;
/// The receiver failed while it worked on the request.
pub const INTERNAL: i64 = -32603;

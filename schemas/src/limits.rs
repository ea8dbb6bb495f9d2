//! Our own caps on everything, in one file, the unit last in each name.
//!
//! Caps hold before allocation: a peer that sends more is refused with
//! [`Reason::TooLarge`](crate::Reason::TooLarge) and nothing is parsed.

/// The largest envelope of a desired document.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// The largest module that travels inside a document.
pub const INLINE_MODULE_BYTES_MAX: usize = 16 * 1024;
/// All inline modules of one document together, so that their base64 leaves
/// room for the rest of the document inside its envelope, which is base64 again.
pub const INLINE_MODULES_BYTES_MAX: usize = 96 * 1024;
/// The largest module.
pub const MODULE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest profile file.
pub const PROFILE_BYTES_MAX: usize = 128 * 1024;
/// The largest trust root envelope.
pub const TRUST_ROOT_BYTES_MAX: usize = 64 * 1024;
/// The largest approval envelope.
pub const APPROVAL_BYTES_MAX: usize = 64 * 1024;
/// Approvals in one document.
pub const APPROVALS_MAX: usize = 16;
/// Devices that one approval may name; without names it is for all of the fleet.
pub const APPROVAL_DEVICES_MAX: usize = 256;
/// The largest sigstore bundle.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// The largest pinned sigstore root, which travels inside a trust root.
pub const SIGSTORE_ROOT_BYTES_MAX: usize = 32 * 1024;
/// The largest reported document.
pub const REPORTED_BYTES_MAX: usize = 64 * 1024;
/// The largest batch of results.
pub const RESULTS_BYTES_MAX: usize = 256 * 1024;
/// The largest acknowledgement envelope.
pub const ACK_BYTES_MAX: usize = 32 * 1024;
/// The largest checkpoint envelope of the audit log.
pub const AUDIT_CHECKPOINT_BYTES_MAX: usize = 4 * 1024;
/// The largest online/offline status.
pub const STATUS_BYTES_MAX: usize = 1024;
/// The largest request or answer of an enrolment.
pub const ENROL_BYTES_MAX: usize = 16 * 1024;
/// The largest MQTT packet either side accepts: a module and its header.
pub const MQTT_PACKET_BYTES_MAX: usize = MODULE_BYTES_MAX + 64 * 1024;
/// The largest JSON body of the HTTP API.
pub const HTTP_JSON_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting of arrays and objects in any JSON that we accept.
pub const JSON_DEPTH_MAX: usize = 32;
/// The largest integer magnitude in JSON: beyond it a double loses whole numbers (RFC 7493).
pub const JSON_INTEGER_MAX: i64 = (1 << 53) - 1;
/// Elements in one list signal, unless the profile says less.
pub const LIST_ITEMS_MAX: usize = 4096;
/// Bytes in one string value.
pub const STRING_BYTES_MAX: usize = 4096;
/// Candidates beside one active function.
pub const CANDIDATES_MAX: usize = 4;
/// Golden vectors of one function in one document.
pub const GOLDEN_VECTORS_MAX: usize = 16;
/// The longest request line on the device's socket.
pub const DEVICE_LINE_BYTES_MAX: usize = 64 * 1024;
/// Functions in one profile.
pub const FUNCTIONS_MAX: usize = 16;
/// How far one document may move the version on: a stolen key cannot burn the counter.
pub const VERSION_STEP_MAX: u64 = 1_000_000;
/// How far one document may move the device's time floor on, in milliseconds (400 days).
pub const TIME_STEP_MS_MAX: u64 = 400 * 24 * 3600 * 1000;
/// Signatures in one envelope.
pub const SIGNATURES_MAX: usize = 16;
/// Sequences in one acknowledgement.
pub const ACK_SEQUENCES_MAX: usize = 512;
/// The greatest difference between two outputs that is told apart from infinity:
/// sums of such stay finite, whatever two functions propose.
pub const DIFFERENCE_MAX: f64 = 1e12;
/// Default cap on the device's outbox: bytes as stored, which are compressed.
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Batches in the device's outbox.
pub const OUTBOX_ROWS_MAX: u64 = 50_000;

const _: () = assert!(INLINE_MODULE_BYTES_MAX <= INLINE_MODULES_BYTES_MAX);
// base64 inside base64 grows by 16/9.
const _: () = assert!(INLINE_MODULES_BYTES_MAX * 16 / 9 < DOCUMENT_BYTES_MAX);
const _: () = assert!(MODULE_BYTES_MAX < MQTT_PACKET_BYTES_MAX);
const _: () = assert!(RESULTS_BYTES_MAX < MQTT_PACKET_BYTES_MAX);

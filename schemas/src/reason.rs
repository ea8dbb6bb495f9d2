//! The closed list of reasons: one stable code for every refusal and fault, on
//! the wire, over HTTP and at the command line.
//!
//! A code is never renamed or given a second meaning; a new meaning is a new code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($variant:ident $code:literal $meaning:literal;)*) => {
        /// Why something was refused or went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize, JsonSchema)]
        pub enum Reason {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the pipeline.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)* }
            }

            /// What it means and what to do, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    TooLarge "too_large" "over the size cap of its kind; send less";
    MalformedJson "malformed_json" "not JSON as RFC 8259 has it; mend the text at the place named";
    DuplicateKey "duplicate_key" "an object names a key twice; keep one";
    TooDeep "too_deep" "nested deeper than the cap; flatten it";
    NumberOutOfRange "number_out_of_range" "an integer beyond 2^53-1 or a number that is not finite; use a smaller one or a string";
    SchemaViolation "schema_violation" "well-formed JSON that does not fit its schema; mend the field named";
    WrongPayloadType "wrong_payload_type" "the envelope carries another kind of payload than this place takes";
    BadBase64 "bad_base64" "not strict base64 (RFC 4648 with padding)";
    ThresholdNotMet "threshold_not_met" "too few valid signatures by distinct keys that the trust root names";
    UnsupportedKey "unsupported_key" "a key that is neither Ed25519 nor ECDSA P-256 in SPKI form";
    WrongFleet "wrong_fleet" "addressed to another fleet";
    WrongDevice "wrong_device" "addressed to another device";
    WrongProfile "wrong_profile" "made for another profile than the firmware's";
    Rollback "rollback" "its version is not above the highest accepted one; publish a newer version";
    Equivocation "equivocation" "the same version with other content; publish a newer version";
    FastForward "fast_forward" "its version or time jumps further than one document may";
    Expired "expired" "it expired before the lowest time that the device can vouch for";
    TrustRootInvalid "trust_root_invalid" "the trust root contradicts itself; mend what is named";
    TrustRootSkipped "trust_root_skipped" "trust roots follow each other one version at a time; bring the one between";
    ProfileInvalid "profile_invalid" "the profile contradicts itself; mend the field named";
    ConfigInvalid "config_invalid" "config does not fit the profile's config schema";
    UnknownFunction "unknown_function" "the profile has no function of this name";
    UnknownOutput "unknown_output" "the function has no output of this name in the profile";
    BoundsWidened "bounds_widened" "a document may narrow the firmware's bounds, never widen them";
    BudgetExceeded "budget_exceeded" "asks for more fuel or memory than the profile allows";
    ApprovalMissing "approval_missing" "brings a module or loosens something that no approver has signed for; have it approved";
    ParamsInvalid "params_invalid" "params do not fit the module's params record";
    ModuleMissing "module_missing" "a slot names a module that the document does not list, or whose bytes never came";
    ModuleDigestMismatch "module_digest_mismatch" "the bytes do not have the digest or size that was signed";
    ModuleSignatureInvalid "module_signature_invalid" "no valid signature of the publisher over the module's bytes";
    EvidenceMismatch "evidence_mismatch" "another kind of proof than the trust root takes from this publisher";
    BundleMalformed "bundle_malformed" "not a sigstore bundle v0.3, or one that contradicts itself; make it again with a current client";
    SigstoreRootInvalid "sigstore_root_invalid" "the trust root has no usable sigstore root of this name";
    CertificateInvalid "certificate_invalid" "the signing certificate does not lead to the pinned authority";
    IdentityMismatch "identity_mismatch" "the signing certificate names another identity or issuer than the trust root";
    LogEntryInvalid "log_entry_invalid" "no transparency-log entry that proves this signature over these bytes";
    SignedTimeInvalid "signed_time_invalid" "no signed time that lies within the certificate's life and is not in the future";
    PublisherUnknown "publisher_unknown" "the trust root has no publisher of this name";
    PublisherNotAllowed "publisher_not_allowed" "the publisher may not publish for this profile or function";
    ModuleDenied "module_denied" "the trust root denies this digest";
    ReleaseCounterTooLow "release_counter_too_low" "older than the lowest release that is still allowed";
    ModuleManifestMismatch "module_manifest_mismatch" "name, version or release counter differ from those inside the signed module";
    NotAComponent "not_a_component" "the bytes are not a WebAssembly component; build it with `gnomon module build`";
    FeatureRefused "feature_refused" "uses a WebAssembly feature that the host turns off";
    HasImports "has_imports" "the module imports something; a function gets its inputs and nothing else";
    ShapeLimit "shape_limit" "larger in some dimension than the host compiles; see limits";
    CompileFailed "compile_failed" "the engine could not compile the module";
    MissingExport "missing_export" "the module has no function `evaluate` as its profile's function needs";
    InterfaceMismatch "interface_mismatch" "the module's types do not fit the profile; the field is named";
    TypeRefused "type_refused" "a type that cannot be a value: resources, handles, futures and streams";
    MemoryOverBudget "memory_over_budget" "declares or grows more memory or tables than its budget";
    InputMissing "input_missing" "the device gave no value for a signal that the function reads";
    InputOutOfRange "input_out_of_range" "a signal's value lies outside the profile's range or has another type";
    OutOfFuel "out_of_fuel" "the call used up its fuel";
    DeadlineMissed "deadline_missed" "the call ran past its deadline";
    TrapUnreachable "trap_unreachable" "the guest executed `unreachable` (an abort or a panic)";
    TrapMemory "trap_memory" "the guest reached outside its memory";
    TrapTable "trap_table" "the guest reached outside a table or called through a null or wrong entry";
    TrapInteger "trap_integer" "integer division by zero or overflow";
    TrapConversion "trap_conversion" "a float that does not fit the integer it was converted to";
    TrapStack "trap_stack" "the guest's call stack is exhausted";
    TrapOther "trap_other" "another trap, a value outside the canonical ABI's rules among them";
    OutputInvalid "output_invalid" "an output is larger than a value may be";
    StateInvalid "state_invalid" "the state does not fit the module's state record, is not finite or is too large";
    GoldenInvalid "golden_invalid" "a golden vector that can never be met or never be missed; mend the place named";
    GoldenMismatch "golden_mismatch" "the module does not return what a golden vector says; the output is named";
    ProbationFailed "probation_failed" "too many faults in its first ticks in control: the device went back to what it had before";
    RunnerDied "runner_died" "the process that ran the module ended in the middle of a call";
    StateNotMigrated "state_not_migrated" "the module could not take over the state of the one before it";
    StoreDamaged "store_damaged" "the device's store could not be read; it was put aside and built anew above the floor";
    UnknownDevice "unknown_device" "no device of this name; register it first";
    UnknownProfile "unknown_profile" "no profile of this digest or name; register it first";
    UnknownModule "unknown_module" "no module of this digest or name; upload it first";
    UnknownGroup "unknown_group" "no group of this name; make it first";
    UnknownVersion "unknown_version" "no such version of this document";
    UnknownApproval "unknown_approval" "nothing waits for this approval; see `gnomon approval list`";
    UnknownRoute "unknown_route" "no such path or method; see /v1/openapi.json";
    InvalidId "invalid_id" "a name that is not of the permitted form";
    AlreadyExists "already_exists" "it is there already with other content";
    PreconditionFailed "precondition_failed" "it has changed since you read it; read it again and repeat";
    Unauthenticated "unauthenticated" "the call carries no valid token, or one that is over; give one";
    Forbidden "forbidden" "the caller may not do this; ask somebody whose role permits it";
    UnknownToken "unknown_token" "no token of this id; see `gnomon token list`";
    UnsupportedMediaType "unsupported_media_type" "the body's content type is not one that this path takes";
    DeviceAhead "device_ahead" "the device holds a newer version than the cloud ever signed; a person must decide";
    TokenInvalid "token_invalid" "the enrolment token is not valid (any more) for this device; ask for a new one";
    CertificateRequestInvalid "certificate_request_invalid" "not a certificate request that its own ECDSA P-256 key signed";
    DeviceCertificateInvalid "device_certificate_invalid" "not a certificate of this fleet that is in force, or not its bearer's signature; enrol the device again";
    TooManyAttempts "too_many_attempts" "too many failed attempts lately; try again in a minute";
    Unavailable "unavailable" "the service cannot do this now; try again";
    StoreFailed "store_failed" "the store could not be written; see the log";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An error that has one reason.
pub trait Coded: fmt::Display {
    /// The reason of this error.
    fn reason(&self) -> Reason;
}

/// A refusal as it goes over the wire: the stable code and one clear sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What was wrong, with names and figures. For people; programs use `reason`.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its detail.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into() }
    }

    /// The same refusal, told where it happened.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Refusal {
        self.detail = format!("{place}: {}", self.detail);
        self
    }
}

impl<E: Coded> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::new(error.reason(), error.to_string())
    }
}

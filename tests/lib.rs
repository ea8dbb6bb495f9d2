//! What the end-to-end tests share with their child processes: nothing but the
//! programs under test, which Cargo builds beside the test binary.

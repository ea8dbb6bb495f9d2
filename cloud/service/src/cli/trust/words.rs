//! A trust root in words, for those who sign it.

use gnomon_schemas::ids::Digest;
use gnomon_schemas::trust::{CertificateIdentity, Proof, Publisher, TrustRoot};
use std::collections::BTreeSet;

/// The root in lines; those that `before` has not, or has otherwise, are marked.
pub(super) fn in_words(root: &TrustRoot, before: Option<&TrustRoot>) -> String {
    let known: BTreeSet<String> = before.map(lines).unwrap_or_default().into_iter().collect();
    let now = lines(root);
    let mut text = format!("trust root {} of fleet `{}`\n", root.version, root.fleet);
    for line in &now {
        let mark = if before.is_some() && !known.contains(line) { '+' } else { ' ' };
        text.push_str(&format!("{mark} {line}\n"));
    }
    for line in known.iter().filter(|line| !now.contains(line)) {
        text.push_str(&format!("- {line}\n"));
    }
    text
}

fn lines(root: &TrustRoot) -> Vec<String> {
    let mut lines = vec![
        format!("epoch      {}", root.epoch),
        format!("expires    {}", date(root.expires_at_ms)),
    ];
    for (name, role) in root.roles.all() {
        lines.push(format!("{name:<10} {} of {} must sign", role.threshold, role.keys.len()));
        lines.extend(role.keys.iter().map(|key| format!("{name:<10} key {}", key.id().short())));
    }
    lines.extend(
        root.publishers
            .iter()
            .map(|(name, publisher)| format!("publisher  {name}: {}", proof(publisher))),
    );
    lines.extend(
        root.sigstore_roots.iter().map(|(name, text)| {
            format!("sigstore   {name}: {}", Digest::of(text.as_bytes()).short())
        }),
    );
    lines.extend(root.denied.iter().map(|digest| format!("denied     module {digest}")));
    lines.extend(
        root.release_counter_min
            .iter()
            .map(|(name, min)| format!("denied     releases of {name} below {min}")),
    );
    if root.approved_after_ms > 0 {
        lines.push(format!("denied     approvals from before {}", date(root.approved_after_ms)));
    }
    lines
}

fn proof(publisher: &Publisher) -> String {
    let proof = match &publisher.proof {
        Proof::Key { key, sigstore_root } => {
            let pinned = sigstore_root.as_ref().map(|name| format!(", logged by `{name}`"));
            format!("key {}{}", key.id().short(), pinned.unwrap_or_default())
        }
        Proof::Certificate { identity, issuer, sigstore_root } => {
            let identity = match identity {
                CertificateIdentity::Email { value } => format!("e-mail {value}"),
                CertificateIdentity::Uri { value } => format!("URI {value}"),
            };
            format!("{identity}, issuer {issuer}, by `{sigstore_root}`")
        }
    };
    let of = |what: &str, names: Vec<&str>| match names.as_slice() {
        [] => format!("every {what}"),
        names => format!("{what} {}", names.join(", ")),
    };
    let profiles = of("profile", publisher.profiles.iter().map(String::as_str).collect());
    let functions = of("function", publisher.functions.iter().map(|name| name.as_str()).collect());
    format!("{proof}; for {functions} of {profiles}")
}

/// A moment as a day, in UTC, with the exact figure.
pub(super) fn date(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(at) => format!("{} ({at_ms})", at.date()),
        Err(_) => at_ms.to_string(),
    }
}

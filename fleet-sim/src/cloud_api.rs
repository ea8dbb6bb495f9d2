//! The cloud as its users see it: the HTTP API, through an HTTP client.

use anyhow::{Context as _, Result, bail};
use gnomon::keys::PrivateKey;
use gnomon_schemas::approval::{Approval, ApprovalSchema};
use gnomon_schemas::results::Summary;
use gnomon_schemas::{DeviceId, Digest, FleetId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::Response;

/// How long the fleet may take to converge.
const CONVERGE_PATIENCE: Duration = Duration::from_secs(60);
/// Rows of one page.
const PAGE: usize = 1000;

/// A client of the API.
pub(crate) struct Cloud {
    agent: Agent,
    base: String,
}

impl Cloud {
    pub(crate) fn new(base: String) -> Cloud {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(300)))
            .build();
        Cloud { agent: config.into(), base }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        read(path, self.agent.get(format!("{}{path}", self.base)).call()?)
    }

    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        Ok(response.body_mut().with_config().limit(16 << 20).read_to_vec()?)
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.base));
        read(path, request.content_type("application/json").send(body)?)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.agent.patch(format!("{}{path}", self.base));
        let body = serde_json::to_vec(body)?;
        read(path, request.content_type("application/merge-patch+json").send(&body[..])?)
    }

    /// Signs a module with its publisher's key and uploads it.
    pub(crate) fn upload(&self, component: &[u8], key: &PrivateKey) -> Result<Digest> {
        let request = self
            .agent
            .post(format!("{}/v1/modules", self.base))
            .header("x-gnomon-publisher", gnomon::keys::LOCAL_PUBLISHER)
            .header("x-gnomon-signature", key.sign_blob(component)?);
        let module =
            read("/v1/modules", request.content_type("application/wasm").send(component)?)?;
        let digest = module["digest"].as_str().context("an upload without a digest")?;
        Ok(digest.parse()?)
    }

    /// Sets what fills `setpoint` for the whole fleet.
    pub(crate) fn set_fleet(&self, active: &Value, candidates: &Value) -> Result<()> {
        let plan = json!({"functions": {"setpoint": {"active": active, "candidates": candidates}}});
        self.patch("/v1/fleet/desired", &plan).map(drop)
    }

    /// Signs all that waits with an approver's key; how many devices waited.
    pub(crate) fn approve_all(&self, fleet: &FleetId, approver: &PrivateKey) -> Result<usize> {
        let mut devices = 0;
        let all = self.get("/v1/approvals")?;
        for request in all["waiting"].as_array().into_iter().flatten() {
            devices += request["devices"].as_array().map_or(0, Vec::len);
            let approval = Approval {
                schema: ApprovalSchema::V1,
                fleet: fleet.clone(),
                devices: None,
                approved_at_ms: gnomon::clock::now_ms(),
                grant: serde_json::from_value(request["grant"].clone())?,
            };
            let payload = serde_json::to_vec(&approval)?;
            self.post("/v1/approvals", &gnomon::keys::seal::<Approval>(&payload, &[approver])?)?;
        }
        Ok(devices)
    }

    /// Waits until every device is in sync; how many are at the end.
    pub(crate) fn converge(&self, devices: u64) -> Result<u64> {
        let start = Instant::now();
        loop {
            let status = self.get("/v1/status")?;
            let in_sync = status["devices_by_state"]["in_sync"].as_u64().unwrap_or(0);
            if in_sync == devices || start.elapsed() > CONVERGE_PATIENCE {
                return Ok(in_sync);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All summaries of a device.
    pub(crate) fn summaries(&self, device: &DeviceId) -> Result<Vec<Summary>> {
        self.rows(&format!("/v1/devices/{device}/summaries"))?
            .into_iter()
            .map(|row| serde_json::from_value(row).context("a summary of an unknown form"))
            .collect()
    }

    /// All rows of a paged list.
    pub(crate) fn rows(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let mut page = self.get(&format!("{path}?limit={PAGE}&after={after}"))?;
            if let Some(items) = page["items"].as_array_mut() {
                all.append(items);
            }
            match page["next_after"].as_i64() {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }
}

fn read(path: &str, mut response: Response<ureq::Body>) -> Result<Value> {
    let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
    if !response.status().is_success() {
        bail!("{path}: {}", String::from_utf8_lossy(&body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).with_context(|| format!("{path}: not JSON"))
}

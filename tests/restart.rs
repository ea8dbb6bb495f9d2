//! Processes that are killed in the middle of their work lose nothing.

use serde_json::json;

use crate::stage::{Agent, Cloud, tou_params, until, waiting_batches};

/// Every tick is accounted for in the cloud, once.
pub(crate) fn wait_accounted(cloud: &Cloud, agent: &Agent, ticks: u64) {
    until("every tick is accounted for", || {
        let rows = cloud.rows("summaries");
        let active = rows.iter().filter(|row| row["role"] == "active");
        let told: u64 = active.map(|row| row["ticks"].as_u64().unwrap()).sum();
        assert!(told <= ticks, "{told} ticks are told of {ticks}");
        (told == ticks && waiting_batches(&agent.store()) == 0).then_some(())
    });
}

#[test]
fn a_cloud_that_is_killed_loses_no_result_and_leaves_no_device_behind() {
    let mut cloud = Cloud::start();
    let each_tick = json!({"summary_ticks": 1, "record_every": 1});
    cloud.set_scene(&each_tick);
    let agent = Agent::start(&cloud);
    let version = cloud.device()["desired"]["version"].as_u64().unwrap();
    cloud.wait_applied(version);

    let mut firmware = agent.firmware();
    let mut ticks = 0;
    for round in 0..3 {
        for _ in 0..50 {
            assert_eq!(firmware.tick(50.0)["source"], "active");
            ticks += 1;
        }
        // Broker and store go down with the process, batches on their way with them.
        cloud.kill();
        for _ in 0..50 {
            assert_eq!(firmware.tick(50.0)["source"], "active", "control needs no cloud");
            ticks += 1;
        }
        cloud.run();
        let setpoint_c = 50.0 + f64::from(round);
        cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(setpoint_c), &each_tick);
        cloud.wait_applied(version + 1 + u64::try_from(round).unwrap());
        assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], setpoint_c);
        ticks += 1;
    }
    wait_accounted(&cloud, &agent, ticks);
    assert_eq!(cloud.rows("records").len() as u64, ticks, "each record is stored once");
}

#[test]
fn an_agent_that_is_killed_goes_on_from_its_store_without_a_cloud() {
    let mut cloud = Cloud::start();
    let each_tick = json!({"summary_ticks": 1});
    cloud.set_scene(&each_tick);
    let mut agent = Agent::start(&cloud);
    let version = cloud.device()["desired"]["version"].as_u64().unwrap();
    cloud.wait_applied(version);
    assert_eq!(agent.firmware().tick(50.0)["outputs"]["setpoint_c"], 60.0);
    wait_accounted(&cloud, &agent, 1);

    cloud.kill();
    agent.kill();
    agent.run();
    let mut firmware = agent.firmware();
    // Until its modules are admitted again the firmware's defaults hold: safe, and fed.
    until("the stored function is in control", || {
        let answer = firmware.tick(50.0);
        match answer["source"].as_str().unwrap() {
            "active" => {
                assert_eq!(answer["outputs"]["setpoint_c"], 60.0);
                Some(())
            }
            source => {
                assert_eq!((source, &answer["outputs"]["setpoint_c"]), ("default", &json!(50.0)));
                None
            }
        }
    });
    cloud.run();
    cloud.wait_applied(version);
}

#[test]
fn the_agent_stays_small() {
    let cloud = Cloud::start();
    cloud.set_scene(&json!({}));
    let agent = Agent::start(&cloud);
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
    let mut firmware = agent.firmware();
    (0..200).for_each(|_| drop(firmware.tick(50.0)));
    let resident_kib = agent.resident_kib();
    println!("gnomon-agent: {resident_kib} KiB resident with one module in control");
    // SECURITY.md R16: at most 48 MiB for planner and runner together.
    assert!(resident_kib < 48 * 1024, "{resident_kib} KiB");
}

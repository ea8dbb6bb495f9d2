//! Many at a time: the pool runs out with a reason, and threads change no result.

use gnomon_host::{AdmitError, Host, HostOptions};
use gnomon_schemas::{Coded, Reason};
use serde_json::json;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{BUDGET, body, bytes, call, function, number, x_to_y};

/// Spins until the deadline: it holds its instance for as long.
fn holder() -> Vec<u8> {
    bytes(&body("(loop (br 0)) unreachable"))
}

#[test]
fn more_calls_than_instances() {
    let host = Host::new(&HostOptions { instances: 1 }).unwrap();
    let mut profile = x_to_y();
    profile.functions.values_mut().next().unwrap().deadline_ms = 200;
    let budget = gnomon_schemas::profile::Budget { fuel: u64::MAX, ..BUDGET };
    let holder = host.admit(&holder(), &profile, &function(), budget).unwrap();
    let quick_bytes = bytes(&body("(local.get 0)"));
    let quick = host.admit(&quick_bytes, &profile, &function(), BUDGET).unwrap();
    let (mut refused, mut busy) = (0, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let held = threads.spawn(|| {
            let outcome = call(&holder, json!({"x": 1.0})).outcome;
            done.store(true, Ordering::SeqCst);
            outcome
        });
        while !done.load(Ordering::SeqCst) {
            match call(&quick, json!({"x": 1.0})).outcome {
                Ok(outputs) => assert_eq!(json!(outputs.outputs), json!({"y": 1.0})),
                Err(refusal) => {
                    assert_eq!(refusal.reason, Reason::Unavailable, "{refusal}");
                    refused += 1;
                }
            }
            match host.admit(&quick_bytes, &profile, &function(), BUDGET) {
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error, AdmitError::Busy(_)), "{error}");
                    assert_eq!(error.reason(), Reason::Unavailable);
                    busy += 1;
                }
            }
        }
        let reason = held.join().unwrap().unwrap_err().reason;
        assert!(matches!(reason, Reason::DeadlineMissed | Reason::Unavailable), "{reason}");
        // Either the holder had the instance, or it came too late to get it.
        assert!(reason == Reason::Unavailable || refused > 0 && busy > 0);
    });
    assert_eq!(number(&call(&quick, json!({"x": 1.0})), "y"), 1.0, "and is free again");
}

#[test]
fn a_host_of_no_instances() {
    let host = Host::new(&HostOptions { instances: 0 }).unwrap();
    let module = bytes(&body("(local.get 0)"));
    let error = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap_err();
    assert_eq!(error.reason(), Reason::Unavailable, "{error}");
}

#[test]
fn threads_change_nothing() {
    let module = gnomon_examples::WATER_HEATER_PRICE;
    let profile = crate::support::water_heater();
    let host = Host::new(&HostOptions { instances: 4 }).unwrap();
    let admitted = host.admit(module, &profile, &function(), profile_budget(&profile)).unwrap();
    let cases: Vec<_> = (0..50).map(crate::examples::price_case).collect();
    let params = admitted.params(&crate::examples::price_params()).unwrap();
    let run = || -> Vec<_> {
        let evaluate = |inputs| {
            let evaluation = admitted.evaluate(inputs, &params, None);
            (evaluation.outcome, evaluation.fuel, evaluation.memory_bytes)
        };
        cases.iter().map(evaluate).collect()
    };
    let alone = run();
    let (barrier, agreed) = (Barrier::new(4), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                barrier.wait();
                for _ in 0..20 {
                    assert_eq!(run(), alone);
                    agreed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(agreed.load(Ordering::SeqCst), 80);
}

fn profile_budget(profile: &gnomon_schemas::profile::Profile) -> gnomon_schemas::profile::Budget {
    profile.functions[&function()].budget
}

/// What is admitted outlives the host's memory of it, and the host.
#[test]
fn what_is_admitted_stays_usable() {
    let host = Host::new(&HostOptions::default()).unwrap();
    let module = bytes(&body("(local.get 0)"));
    let admitted = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap();
    host.forget_compiled();
    assert_eq!(number(&call(&admitted, json!({"x": 3.0})), "y"), 3.0);
    let again = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap();
    assert_eq!(again.digest(), admitted.digest());
    drop(host);
    assert_eq!(number(&call(&again, json!({"x": 4.0})), "y"), 4.0);
}

/// The compiled form is shared, the budget and the deadline are not.
#[test]
fn a_budget_belongs_to_an_admission() {
    let module = bytes(&body("(f64.add (local.get 0) (local.get 0))"));
    let host = crate::support::host();
    let poor = gnomon_schemas::profile::Budget { fuel: 1, ..BUDGET };
    let rich = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap();
    let poor = host.admit(&module, &x_to_y(), &function(), poor).unwrap();
    assert_eq!(poor.budget().fuel, 1);
    assert!(call(&rich, json!({"x": 3.0})).outcome.is_ok());
    let refusal = call(&poor, json!({"x": 3.0})).outcome.unwrap_err();
    assert_eq!(refusal.reason, Reason::OutOfFuel);
}

/// More modules than the host remembers are admitted all the same.
#[test]
fn the_memory_of_compiled_modules_is_bounded() {
    let host = Host::new(&HostOptions::default()).unwrap();
    let admitted: Vec<_> = (0..20)
        .map(|n| {
            let module = bytes(&body(&format!("(f64.const {n})")));
            host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap()
        })
        .collect();
    for (n, admitted) in admitted.iter().enumerate() {
        assert_eq!(number(&call(admitted, json!({"x": 1.0})), "y"), n as f64);
    }
}

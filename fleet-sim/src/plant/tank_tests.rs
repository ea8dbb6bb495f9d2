//! Tests of the tank as a whole: first law, stratification, thermostat, cut-out, repeatability.
//!
//! Owns the physical claims of `PLANT.md`. Refuses to know prices and households.

use super::*;

const IDLE: Step = Step { dt_s: 60.0, draw_l: 0.0, mains_c: 7.0, ambient_c: 20.0, setpoint_c: 0.0 };

fn tank(initial_c: f64) -> Tank {
    Tank::new(TankSpec::default(), initial_c).unwrap()
}

/// What is left of `element = delivered + loss + stored`, relative to the largest term.
fn imbalance(outcome: &Outcome) -> f64 {
    let terms = [
        outcome.element_energy_j,
        -outcome.delivered_energy_j,
        -outcome.standing_loss_j,
        -outcome.stored_energy_change_j,
    ];
    let largest = terms.iter().fold(1.0_f64, |max, term| max.max(term.abs()));
    terms.iter().sum::<f64>().abs() / largest
}

#[test]
fn every_step_closes_its_energy_balance() {
    let mut tank = tank(40.0);
    for minute in 0..2880_u32 {
        let outcome = tank
            .step(&Step {
                draw_l: f64::from(minute % 37) * 0.4,
                setpoint_c: 40.0 + f64::from(minute % 50),
                ambient_c: f64::from(minute % 30),
                ..IDLE
            })
            .unwrap();
        assert!(imbalance(&outcome) < 1e-9, "minute {minute}: {outcome:?}");
    }
}

#[test]
fn idle_tank_decays_towards_the_room_as_the_first_law_says() {
    // Conduction fast enough to keep the tank at one temperature: the analytic solution is
    // T(t) = T_room + (T_0 - T_room) exp(-UA t / C).
    let spec = TankSpec { conductivity_w_per_m_k: 100.0, ..TankSpec::default() };
    let heat_capacity_j_per_k = spec.volume_l * WATER_J_PER_L_K;
    let mut mixed = Tank::new(spec, 60.0).unwrap();
    let mut stratified = tank(60.0);
    for hour in 1..=96_u32 {
        let hour_step = Step { dt_s: 3600.0, ..IDLE };
        mixed.step(&hour_step).unwrap();
        stratified.step(&hour_step).unwrap();
        let time_s = f64::from(hour) * 3600.0;
        let expected_k = 40.0 * (-2.0 * time_s / heat_capacity_j_per_k).exp();
        assert!(((mixed.mean_temp_c() - 20.0) / expected_k - 1.0).abs() < 0.01);
        assert!(((stratified.mean_temp_c() - 20.0) / expected_k - 1.0).abs() < 0.01);
    }
}

#[test]
fn a_draw_leaves_the_tank_stratified() {
    let mut tank = tank(60.0);
    for minute in 0..240_u32 {
        let draw_l = if minute % 20 < 5 { 6.4 } else { 0.0 };
        tank.step(&Step { draw_l, setpoint_c: 55.0, ..IDLE }).unwrap();
        let sorted = tank.node_temps_c().windows(2).all(|w| w[0] <= w[1] + 1e-9);
        assert!(sorted, "minute {minute}: {:?}", tank.node_temps_c());
    }
    assert!(tank.lower_temp_c() < tank.upper_temp_c());
}

#[test]
fn outlet_falls_only_after_about_the_tank_volume() {
    let mut tank = tank(60.0);
    let mut outlet_at = |target_l: f64, drawn_l: &mut f64| {
        let mut outlet_c = f64::NAN;
        while *drawn_l < target_l {
            let step = Step { draw_l: 6.4, ..IDLE };
            outlet_c = tank.step(&step).unwrap().outlet_temp_c.unwrap();
            *drawn_l += 6.4;
        }
        outlet_c
    };
    let mut drawn_l = 0.0;
    assert!(outlet_at(0.60 * 190.0, &mut drawn_l) > 58.0);
    assert!(outlet_at(0.75 * 190.0, &mut drawn_l) > 53.0);
    assert!(outlet_at(1.00 * 190.0, &mut drawn_l) < 45.0);
    assert!(outlet_at(1.50 * 190.0, &mut drawn_l) < 10.0);
}

#[test]
fn thermostat_keeps_the_sensors_in_the_deadband() {
    let mut tank = tank(20.0);
    let heating = Step { setpoint_c: 60.0, ..IDLE };
    for _ in 0..300 {
        tank.step(&heating).unwrap();
    }
    let mut switched_on = 0;
    let mut was_on = false;
    for _ in 0..7 * 1440 {
        let on = tank.step(&heating).unwrap().element_energy_j > 0.0;
        switched_on += i32::from(on && !was_on);
        was_on = on;
        assert!(tank.lower_temp_c() > 55.5 && tank.upper_temp_c() < 62.0);
    }
    assert!(switched_on >= 5, "only {switched_on} cycles in a week");
}

#[test]
fn cut_out_holds_against_an_absurd_setpoint() {
    let mut tank = tank(60.0);
    let mut hottest_c = 0.0_f64;
    let mut cut_out = false;
    for _ in 0..1440 {
        tank.step(&Step { setpoint_c: 150.0, ..IDLE }).unwrap();
        hottest_c = hottest_c.max(tank.max_temp_c());
        cut_out |= tank.is_cut_out();
    }
    assert!(cut_out && hottest_c >= 85.0);
    assert!(hottest_c < 86.5, "{hottest_c}");
}

#[test]
fn same_inputs_give_the_same_bits() {
    let run = || {
        let mut tank = tank(50.0);
        for minute in 0..1440_u32 {
            tank.step(&Step { draw_l: f64::from(minute % 11) * 0.1, setpoint_c: 55.0, ..IDLE })
                .unwrap();
        }
        tank.node_temps_c().iter().map(|c| c.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn bad_inputs_are_refused_and_move_nothing() {
    let mut tank = tank(50.0);
    let untouched = tank.clone();
    for (step, quantity) in [
        (Step { setpoint_c: f64::NAN, ..IDLE }, "setpoint_c"),
        (Step { mains_c: f64::INFINITY, ..IDLE }, "mains_c"),
        (Step { dt_s: f64::NAN, ..IDLE }, "dt_s"),
    ] {
        assert_eq!(tank.step(&step), Err(PlantError::NotFinite { quantity }));
    }
    let negative = Step { draw_l: -1.0, ..IDLE };
    assert!(matches!(tank.step(&negative), Err(PlantError::OutOfRange { .. })));
    assert_eq!(tank, untouched);
}

#[test]
fn by_name_and_by_type_the_tank_does_the_same() {
    let (mut by_name, mut by_type) = (tank(30.0), tank(30.0));
    by_name.command(SETPOINT_C, 55.0).unwrap();
    let disturbance = TankDisturbance { draw_l: 3.0, mains_c: 7.0, ambient_c: 20.0 };
    let step = Step { draw_l: 3.0, setpoint_c: 55.0, ..IDLE };
    assert_eq!(by_name.advance(&disturbance, 60.0), by_type.step(&step));
    assert_eq!(by_name.read(TANK_TEMP_C), Some(by_type.upper_temp_c()));
    assert!(by_name.sensors().iter().all(|name| by_name.read(name).is_some()));
    assert_eq!(by_name.read("pressure_pa"), None);
    assert!(matches!(by_name.command("valve", 1.0), Err(PlantError::UnknownActuator { .. })));
}

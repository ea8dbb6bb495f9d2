#!/usr/bin/env python3
"""Firmware of an electric water heater in plain Python, on the agent's Unix socket.

Each minute of the plant it asks the agent for a setpoint and runs a thermostat with it.
The agent answers every tick with safe values; should the agent itself be gone, the
firmware holds the last setpoint for a while, then takes its own default, and goes on
asking. Prints what happened as one line of JSON.

    firmware.py heater.sock --minutes 1440           a simulated day, as fast as it goes
    firmware.py heater.sock --minutes 60 --wait 60   an hour in real time
"""
import argparse
import json
import socket
import time

DEFAULT_C, HOLD_TICKS = 50.0, 5  # what the profile says, known to the firmware by itself
LITRES, ELEMENT_W, LOSS_W_PER_K, ROOM_C, MAINS_C = 190.0, 4500.0, 1.6, 20.0, 10.0
DRAWS_L = {7 * 60 + m: 8.0 for m in range(10)} | {19 * 60 + m: 6.0 for m in range(15)}
PRICES = [0.05] * 7 + [0.12] * 4 + [0.09] * 6 + [0.18] * 4 + [0.05] * 3  # per kWh, by hour


class Agent:
    """The agent on its socket; a connection that breaks is made anew at the next tick."""

    def __init__(self, path):
        self.path, self.lines = path, None

    def ask(self, function, inputs, patience_s=2.0):
        try:
            if self.lines is None:
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(patience_s)
                connection.connect(self.path)
                self.lines = connection.makefile("rw")
            print(json.dumps({"function": function, "inputs": inputs}), file=self.lines, flush=True)
            return json.loads(self.lines.readline())
        except (OSError, ValueError):  # gone, late, or in the middle of a line
            self.lines = None
            return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("socket")
    arguments.add_argument("--minutes", type=int, default=1440)
    arguments.add_argument("--wait", type=float, default=0.0, help="seconds from tick to tick")
    arguments = arguments.parse_args()
    agent, tank_c, setpoint_c, heats, unanswered = Agent(arguments.socket), 50.0, DEFAULT_C, False, 0
    seen = {"ticks": 0, "sources": {}, "unanswered": 0, "cost": 0.0, "kwh": 0.0,
            "tank_c": [tank_c, tank_c], "setpoint_c": [setpoint_c, setpoint_c]}
    for minute in range(arguments.minutes):
        hour = minute / 60 % 24
        prices = (PRICES + PRICES)[int(hour):int(hour) + 24]
        answer = agent.ask("setpoint", {"tank_temp_c": tank_c, "tank_low_temp_c": tank_c,
                                        "hour": hour, "price_forecast": prices})
        if answer and "outputs" in answer:
            setpoint_c, unanswered = answer["outputs"]["setpoint_c"], 0
            seen["sources"][answer["source"]] = seen["sources"].get(answer["source"], 0) + 1
        else:
            unanswered += 1
            seen["unanswered"] += 1
            setpoint_c = setpoint_c if unanswered <= HOLD_TICKS else DEFAULT_C
        heats = tank_c < setpoint_c - (0.0 if heats else 2.0)  # a thermostat with hysteresis
        watts = (ELEMENT_W if heats else 0.0) - LOSS_W_PER_K * (tank_c - ROOM_C)
        drawn = DRAWS_L.get(minute % 1440, 0.0) / LITRES
        tank_c += watts * 60 / (4186 * LITRES) + drawn * (MAINS_C - tank_c)
        kwh = ELEMENT_W / 60_000 if heats else 0.0
        seen["ticks"], seen["kwh"] = seen["ticks"] + 1, seen["kwh"] + kwh
        seen["cost"] += kwh * PRICES[int(hour)]
        for name, value in (("tank_c", tank_c), ("setpoint_c", setpoint_c)):
            seen[name] = [min(seen[name][0], value), max(seen[name][1], value)]
        time.sleep(arguments.wait)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()

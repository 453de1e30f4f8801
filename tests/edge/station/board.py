"""A board's /sys and /proc as files of a folder, which a test may change while they are read."""

from __future__ import annotations

from pathlib import Path


class Board:
    """A Jetson at rest; the paths are those of Jetson Linux 36."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self.write("sys/class/thermal/thermal_zone1/type", "tj-thermal")
        self.heat(45.0)
        for number, kind in enumerate(("pwm-fan", "cpu-throttle-alert", "gpu-throttle-alert", "hot-surface-alert")):
            self.write(f"sys/class/thermal/cooling_device{number}/type", kind)
            self.cool(number, 0)
        self.over_current(0)
        self.write("sys/class/hwmon/hwmon1/in1_label", "VDD_IN")
        self.write("sys/class/hwmon/hwmon1/in2_label", "VDD_CPU_GPU_CV")
        self.power(5000, 1200)
        self.write("sys/class/hwmon/hwmon1/in2_input", "5000")
        self.write("sys/class/hwmon/hwmon1/curr2_input", "400")
        self.write("proc/stat", "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\ncpu2 1 2 3\ncpu3 1 2 3\nintr 9")
        self.load(1.0)
        self.memory(50)
        self.stall(0.0)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def heat(self, celsius: float) -> None:
        self.write("sys/class/thermal/thermal_zone0/temp", f"{round(celsius * 1000) - 500}")
        self.write("sys/class/thermal/thermal_zone1/temp", f"{round(celsius * 1000)}")

    def cool(self, number: int, state: int) -> None:
        self.write(f"sys/class/thermal/cooling_device{number}/cur_state", str(state))

    def over_current(self, count: int) -> None:
        self.write("sys/class/hwmon/hwmon3/oc1_event_cnt", str(count))

    def power(self, millivolts: int, milliamperes: int) -> None:
        self.write("sys/class/hwmon/hwmon1/in1_input", str(millivolts))
        self.write("sys/class/hwmon/hwmon1/curr1_input", str(milliamperes))

    def load(self, tasks: float) -> None:
        self.write("proc/loadavg", f"{tasks:.2f} 0.80 0.40 2/345 6789")

    def memory(self, available_percent: int) -> None:
        self.write("proc/meminfo", f"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {10 * available_percent} kB")

    def stall(self, percent: float) -> None:
        psi = f"some avg10={percent:.2f} avg60=0.00 avg300=0.00 total=1"
        self.write("proc/pressure/memory", f"{psi}\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1")

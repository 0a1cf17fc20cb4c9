# SPDX-License-Identifier: Apache-2.0
"""Cases that `make test` leaves out for time, since it has quicker ones of the same; `make slow`.

`tests/conftest.py` marks them: more sizes, more policies at the same size, and machines that take
minutes to build. Every test keeps at least one case in `make test`.
"""

__all__ = ["SLOW"]

SLOW: dict[str, tuple[str, ...]] = {
    "tests/compute/test_activation_feed.py": (
        "test_feeds[2-5]", "test_feeds[16-5]", "test_feeds[64-5]", "test_feeds[3-4]",
    ),
    "tests/compute/test_compute.py": (
        "test_programs[2x16-always]", "test_programs[8x16-always]", "test_programs[9x2-always]",
        "test_programs[3x16t-always]", "test_programs[4x5t-random]", "test_programs[4x5t-bursty]",
        "test_programs[4x3d-random]", "test_programs[4x3d-bursty]", "test_programs[4x3s-random]",
        "test_programs[4x3s-bursty]", "test_product[2x16]", "test_product[9x2]",
        "test_product[4x4]", "test_long_instruction[4x4a]", "test_long_instruction[4x4m]",
        "test_drains_meanwhile[4x4a]", "test_drains_meanwhile[4x4m]", "test_faults[4x4m]",
    ),
    "tests/compute/test_systolic.py": (
        "test_tightest_schedule[1-4]", "test_tightest_schedule[5-1]",
        "test_tightest_schedule[4-4]", "test_tightest_schedule[7-2]", "test_gaps[2-4-4]",
        "test_gaps[3-3-5]", "test_gaps[3-4-15]",
    ),
    "tests/compiler/test_functions.py": (
        "test_no_calibration_changes_the_answer[gelu-1x1]",
        "test_no_calibration_changes_the_answer[gelu-3x1]",
        "test_no_calibration_changes_the_answer[gelu-3x7x11]",
        "test_no_calibration_changes_the_answer[gelu-4099]",
        "test_no_calibration_changes_the_answer[tanh_gelu-1x1]",
        "test_no_calibration_changes_the_answer[tanh_gelu-3x1]",
        "test_no_calibration_changes_the_answer[tanh_gelu-5x24]",
        "test_no_calibration_changes_the_answer[tanh_gelu-4099]",
        "test_no_calibration_changes_the_answer[logarithm-1x1]",
        "test_no_calibration_changes_the_answer[logarithm-3x1]",
        "test_no_calibration_changes_the_answer[logarithm-5x24]",
        "test_no_calibration_changes_the_answer[logarithm-4099]",
    ),
    "tests/compiler/test_dynamic.py": ("test_simulated[1.0]",),
    "tests/control/test_control.py": ("test_control[large]",),
    "tests/control/test_counters.py": (
        "test_counters[absent0-64]", "test_counters[absent1-128]", "test_counters[absent1-256]",
    ),
    "tests/formal/test_sparse_entries.py": ("test_ends[2]",),
    "tests/formal/test_special.py": (
        "test_proved[9-1-False-50]", "test_proved[3-2-False-38]", "test_covered[9-1-False-50]",
        "test_covered[3-2-False-38]",
    ),
    "tests/formal/test_weight_scratchpad.py": ("test_proved[2-9]",),
    "tests/accelerator/test_bus.py": ("test_bus[0]",),
    "tests/accelerator/test_fuzz.py": ("test_no_program_escapes[special]",),
    "tests/accelerator/test_large_arrays.py": ("test_a_long_side[columns]",),
    "tests/accelerator/test_random_configs.py": (
        "test_presets[wide]", "test_presets[ecp5-8x8]",
    ),
    "tests/compute/test_accumulator.py": (
        "test_accumulates[True-1]", "test_accumulates[False-6]",
        "test_with_fewer_registers[memory-False]", "test_with_fewer_registers[accumulator-True]",
    ),
    "tests/compute/test_address_generator.py": (
        "test_walks[7-5-True-random]", "test_walks[7-5-True-bursty]",
        "test_walks[18-5-True-random]", "test_walks[18-5-True-bursty]",
        "test_walks[16-7-True-random]", "test_walks[16-7-True-bursty]",
        "test_walks[6-4-False-bursty]",
    ),
    "tests/load/test_format_path.py": (
        "test_loads_weights[all-0]", "test_refuses_garbage[wide rows]",
    ),
    "tests/load/test_load.py": (
        "test_moves_segments[tiny-0.5]", "test_moves_segments[large-0.5]",
        "test_moves_segments[many-0]", "test_keeps_the_bus_busy[default-1-fields1-1024]",
    ),
    "tests/vector/test_output_buffer.py": (
        "test_bytes[64-128-pipeline6]", "test_bytes[3-128-pipeline2]",
        "test_bytes[16-64-pipeline4]", "test_bytes[1-256-pipeline7]",
    ),
    "tests/vector/test_parameter_memory.py": (
        "test_records[1-tflite-128]", "test_records[1-tflite-256]", "test_records[1-onnx-64]",
        "test_records[1-onnx-256]", "test_records[3-tflite-single-64]",
        "test_records[3-tflite-single-128]", "test_records[4-shift-64]",
        "test_records[4-shift-256]", "test_records[16-onnx-64]",
    ),
    "tests/parts/test_ram.py": (
        "test_cells[(64, 32, None)]", "test_cells[(40, 300, 8)]", "test_cells[(24, 1024, 8)]",
        "test_cells[(8, 2048, None)]", "test_cells[(32, 2048, 8)]", "test_cells[(64, 4096, 8)]",
        "test_plain_logic[(64, 512, None)]", "test_plain_logic[(40, 300, 8)]",
        "test_plain_logic[(24, 1024, 8)]", "test_plain_logic[(8, 2048, None)]",
        "test_plain_logic[(64, 4096, 8)]",
    ),
    "tests/compute/test_weight_scratchpad.py": (
        "test_beats[5-8]", "test_beats[33-16]", "test_decoded_rows[5-8]",
        "test_transposer[2-8]", "test_transposer[8-8]", "test_transposer[16-16]",
        "test_transposer[64-32]", "test_without_registers[False-formats0-16]",
        "test_without_registers[True-formats2-16]",
    ),
    "tests/parts/test_write_master.py": (
        "test_writes_runs[0.5-always]", "test_writes_runs[0.5-bursty]",
        "test_writes_runs[0.9-random]", "test_machines[64-2]", "test_stops[30]",
        "test_takes_either_channel_first[requests0-0-address]",
        "test_takes_either_channel_first[requests0-0-data]",
        "test_takes_either_channel_first[requests1-0-any]",
        "test_takes_either_channel_first[requests1-0-data]",
        "test_takes_either_channel_first[requests2-0-any]",
        "test_takes_either_channel_first[requests2-0-address]",
    ),
    "tests/sim/test_stalls.py": ("test_stalls[verilator]",),
    "tests/sparse/test_bitmask.py": ("test_decodes[16-128]",),
    "tests/sim/test_interrupt.py": (
        "test_every_stage[verilator]",
        *(f"test_at_the_start[{seed}]" for seed in range(4, 30)),
        *(f"test_any_moment_of_generating[{seed}]" for seed in range(3, 30)),
    ),
    "tests/sim/test_places.py": ("test_verilog_from_a_read_only_folder[a cache]",),
    "tests/test_hashes.py": (
        "test_verilog[small]", "test_verilog[wide]", "test_verilog[large]",
        "test_verilog[ecp5-12x12]", "test_verilog[ulx3s-85f]",
    ),
    "tests/vector/test_block.py": (
        "test_every_criterion[bias-ways2]", "test_every_criterion[qem-ways4]",
        "test_roundings[half_even-pot-4-16-always]", "test_roundings[half_up-free-4-16-always]",
        "test_roundings[lfsr-pot-1-8-always]", "test_roundings[pseudo-free-2-8-always]",
    ),
    "tests/special/test_normalize.py": (
        "test_rows[2-0.4]", "test_rows[3-0]", "test_rows[16-0]", "test_rows[64-0.4]",
        "test_rows[197-0]", "test_rows[1000-0.4]", "test_as_late_as_hold_allows[5]",
    ),
}

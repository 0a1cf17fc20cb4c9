// SPDX-License-Identifier: Apache-2.0
// A simulated LiteX SoC: clock, reset, and a serial port whose text goes to a file, so that Python
// can sleep until the firmware says that it is over (an end of transmission, 0x04).

`timescale 1ns/1ps

module top (
    input rst,
    output reg ended,
    output reg [63:0] cycles,
    output reg clk
);
  initial clk = 0;
  always #1 clk = ~clk;

  wire valid, unused_ready, unused_trace;
  wire [7:0] data;

  sim soc (
      .sys_clk(clk), .sys_rst(rst), .sim_trace(unused_trace),
      .serial_source_valid(valid), .serial_source_ready(1'b1), .serial_source_data(data),
      .serial_sink_valid(1'b0), .serial_sink_ready(unused_ready), .serial_sink_data(8'b0)
  );

  integer file;
  initial file = $fopen("serial.txt", "w");

  always @(posedge clk) begin
    if (rst) begin
      ended <= 0;
      cycles <= 0;
    end else begin
      cycles <= cycles + 1;
      if (valid && !ended) begin
        if (data == 8'h04) ended <= 1;
        else begin
          $fwrite(file, "%c", data);
          if (data == 8'h0a) $fflush(file);
        end
      end
    end
  end
endmodule

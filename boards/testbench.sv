// SPDX-License-Identifier: Apache-2.0
// A board in the simulator: clock, reset, the top, and a serial port with whole messages on the
// other side, so that Python wakes once a message and not once a clock.

`timescale 1ns/1ps

module top #(
    parameter DIVISOR = `KIWICHA_DIVISOR,
    parameter BYTES = `KIWICHA_MESSAGE_BYTES
) (
    input rst,
    input [8*BYTES-1:0] outgoing, input [15:0] outgoing_length, input send,
    output reg sent,
    output reg [8*BYTES-1:0] incoming, output reg [15:0] incoming_length, output reg arrived,
    input take,
    output interrupt,
    output reg clk
);
  initial clk = 0;
  always #1 clk = ~clk;

  reg wire_out;
  wire wire_in;

  board dut (.clk(clk), .rst(rst), .rx(wire_out), .tx(wire_in), .interrupt(interrupt));

  // Out: `outgoing`, lowest byte first, when `send` changes; `sent` follows it at the end.
  reg [15:0] out_timer, out_index;
  reg [3:0] out_bit;
  reg [9:0] out_shift;
  wire [7:0] out_byte = outgoing[8*out_index+:8];
  always @(posedge clk) begin
    if (rst) begin
      wire_out <= 1; sent <= send; out_timer <= 0; out_index <= 0; out_bit <= 0;
    end else if (out_timer != 0) out_timer <= out_timer - 1;
    else if (out_bit != 0) begin
      wire_out <= out_shift[0];
      out_shift <= {1'b1, out_shift[9:1]};
      out_bit <= out_bit - 1;
      out_timer <= DIVISOR - 1;
    end else if (sent != send) begin
      if (out_index == outgoing_length) begin
        sent <= send;
        out_index <= 0;
      end else begin
        out_shift <= {1'b1, out_byte, 1'b0};
        out_bit <= 10;
        out_index <= out_index + 1;
      end
    end
  end

  // In: bytes are gathered; `arrived` rises with the flag that ends a frame and falls with `take`,
  // which empties the buffer.
  reg [15:0] in_timer;
  reg [3:0] in_bit;
  reg [7:0] in_shift;
  reg took;
  always @(posedge clk) begin
    if (rst) begin
      in_timer <= 0; in_bit <= 0; incoming_length <= 0; arrived <= 0; took <= take;
    end else begin
      if (in_timer != 0) in_timer <= in_timer - 1;
      else if (in_bit == 0) begin
        if (!wire_in) begin
          in_bit <= 9;
          in_timer <= DIVISOR + DIVISOR / 2 - 1;
        end
      end else begin
        in_bit <= in_bit - 1;
        in_timer <= in_bit == 1 ? 0 : DIVISOR - 1;
        if (in_bit != 1) in_shift <= {wire_in, in_shift[7:1]};
        else if (wire_in) begin
          incoming[8*incoming_length+:8] <= in_shift;
          incoming_length <= incoming_length + 1;
          if (in_shift == 8'h7e && incoming_length != 0) arrived <= 1;
        end
      end
      if (took != take) begin
        took <= take; incoming_length <= 0; arrived <= 0;
      end
    end
  end
endmodule

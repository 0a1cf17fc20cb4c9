// SPDX-License-Identifier: Apache-2.0
// When each channel of the simulated memory waits: in a cycle with probability chance/256, from a
// stream of SplitMix64 of its own, whose period is 2^64 cycles. Every (seed, channel) begins at
// another place. With a chance of 0 nothing waits, and the streams stand still.

module stalls #(
    parameter CHANNELS = 5
) (
    input clk,
    input rst,
    input [31:0] seed,
    input [7:0] chance,
    output reg [CHANNELS-1:0] waits
);
  // A permutation of the 64-bit numbers.
  function automatic [63:0] mixed(input [63:0] number);
    reg [63:0] z;
    begin
      z = (number ^ (number >> 30)) * 64'hbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 64'h94d049bb133111eb;
      mixed = z ^ (z >> 31);
    end
  endfunction

  genvar channel;
  generate
    for (channel = 0; channel < CHANNELS; channel = channel + 1) begin : stream
      reg [63:0] place;
      wire [63:0] number = mixed(place);
      always @(posedge clk)
        if (rst || chance == 0) begin
          waits[channel] <= 0;
          if (rst) place <= mixed({channel[31:0], seed});
        end else begin
          waits[channel] <= number[63:56] < chance;
          place <= place + 64'h9e3779b97f4a7c15;
        end
    end
  endgenerate
endmodule

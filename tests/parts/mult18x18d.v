// SPDX-License-Identifier: Apache-2.0
// What MULT18X18D of the ECP5 does with the registers and parameters that we use, written for these
// tests from Lattice's ECP5 and ECP5-5G sysDSP Usage Guide (FPGA-TN-02205). It is no vendor model:
// signed operands, CLK0 for every register, CE0 and CE1, no reset, no shift chain;
// the product is 0 where anything else is asked for.
module MULT18X18D(
  input CLK0, CE0, CE1, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
  output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter GSR = "ENABLED";

  wire signed [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire signed [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg signed [17:0] a_register, b_register;
  reg signed [35:0] pipeline, result;
  wire signed [17:0] a_used = REG_INPUTA_CLK == "NONE" ? a : a_register;
  wire signed [17:0] b_used = REG_INPUTB_CLK == "NONE" ? b : b_register;
  wire signed [35:0] product = a_used * b_used;
  wire signed [35:0] middle = REG_PIPELINE_CLK == "NONE" ? product : pipeline;
  wire modelled = SIGNEDA & SIGNEDB & ~SOURCEA & ~SOURCEB & ~RST0 & (GSR == "DISABLED");
  wire [35:0] p = !modelled ? 36'h0 : REG_OUTPUT_CLK == "NONE" ? middle : result;

  always @(posedge CLK0) begin
    if (REG_INPUTA_CE == "CE0" ? CE0 : CE1) a_register <= a;
    if (REG_INPUTB_CE == "CE0" ? CE0 : CE1) b_register <= b;
    if (REG_PIPELINE_CE == "CE0" ? CE0 : CE1) pipeline <= product;
    if (REG_OUTPUT_CE == "CE0" ? CE0 : CE1) result <= middle;
  end

  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
endmodule

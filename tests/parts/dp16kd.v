// SPDX-License-Identifier: Apache-2.0
// What DP16KD and PDPW16KD of the ECP5 do with the ports and parameters that we use, written for these
// tests from Lattice's ECP5 and ECP5-5G Memory User Guide (FPGA-TN-02204). It is no vendor model: port
// A writes, port B reads, one clock, no reset, the output register of the reading port in use. The
// register moves only while the port's clock is enabled too, the stricter reading of the guide. What
// is read while it is written is X, and so is everything where anything else is asked for.
module DP16KD(
  input CLKA, CEA, WEA, OCEA, RSTA, CLKB, CEB, WEB, OCEB, RSTB,
  input CSA0, CSA1, CSA2, CSB0, CSB1, CSB2,
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter GSR = "ENABLED";

  wire [13:0] write_address = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] read_address = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] data = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] q;
  wire modelled = ~WEB & ~RSTA & ~RSTB & (GSR == "DISABLED") & (REGMODE_B == "OUTREG")
    & (DATA_WIDTH_A == DATA_WIDTH_B) & ~(CSA0 | CSA1 | CSA2 | CSB0 | CSB1 | CSB2);
  wire [1:0] bytes = DATA_WIDTH_A == 18 ? write_address[1:0] : 2'b11;
  ecp5_ram #(.WIDTH(DATA_WIDTH_A), .BYTES(DATA_WIDTH_A == 18 ? 2 : 1)) ram(
    .clk(CLKA), .write(CEA & WEA), .bytes(bytes), .write_address(write_address), .data(data[DATA_WIDTH_A-1:0]),
    .read(CEB), .read_address(read_address), .take(OCEB), .q(q[DATA_WIDTH_A-1:0])
  );
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = modelled ? q : 18'bx;
endmodule

module PDPW16KD(
  input CLKW, CEW, CLKR, CER, OCER, RST,
  input CSW0, CSW1, CSW2, CSR0, CSR1, CSR2, BE0, BE1, BE2, BE3,
  input ADW0, ADW1, ADW2, ADW3, ADW4, ADW5, ADW6, ADW7, ADW8,
  input ADR0, ADR1, ADR2, ADR3, ADR4, ADR5, ADR6, ADR7, ADR8, ADR9, ADR10, ADR11, ADR12, ADR13,
  input DI0, DI1, DI2, DI3, DI4, DI5, DI6, DI7, DI8, DI9, DI10, DI11, DI12, DI13, DI14, DI15, DI16, DI17, DI18, DI19, DI20, DI21, DI22, DI23, DI24, DI25, DI26, DI27, DI28, DI29, DI30, DI31, DI32, DI33, DI34, DI35,
  output DO0, DO1, DO2, DO3, DO4, DO5, DO6, DO7, DO8, DO9, DO10, DO11, DO12, DO13, DO14, DO15, DO16, DO17, DO18, DO19, DO20, DO21, DO22, DO23, DO24, DO25, DO26, DO27, DO28, DO29, DO30, DO31, DO32, DO33, DO34, DO35
);
  parameter DATA_WIDTH_W = 36;
  parameter DATA_WIDTH_R = 36;
  parameter REGMODE = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_W = "0b000";
  parameter CSDECODE_R = "0b000";
  parameter GSR = "ENABLED";

  wire [35:0] q;
  wire modelled = ~RST & (GSR == "DISABLED") & (REGMODE == "OUTREG") & (DATA_WIDTH_W == 36)
    & (DATA_WIDTH_R == 36) & ~(CSW0 | CSW1 | CSW2 | CSR0 | CSR1 | CSR2);
  ecp5_ram #(.WIDTH(36), .BYTES(4)) ram(
    .clk(CLKW), .write(CEW), .bytes({BE3, BE2, BE1, BE0}), .write_address({{ADW8, ADW7, ADW6, ADW5, ADW4, ADW3, ADW2, ADW1, ADW0}, 5'b0}),
    .data({DI35, DI34, DI33, DI32, DI31, DI30, DI29, DI28, DI27, DI26, DI25, DI24, DI23, DI22, DI21, DI20, DI19, DI18, DI17, DI16, DI15, DI14, DI13, DI12, DI11, DI10, DI9, DI8, DI7, DI6, DI5, DI4, DI3, DI2, DI1, DI0}),
    .read(CER), .read_address({ADR13, ADR12, ADR11, ADR10, ADR9, ADR8, ADR7, ADR6, ADR5, ADR4, ADR3, ADR2, ADR1, ADR0}), .take(OCER), .q(q)
  );
  assign {DO35, DO34, DO33, DO32, DO31, DO30, DO29, DO28, DO27, DO26, DO25, DO24, DO23, DO22, DO21, DO20, DO19, DO18, DO17, DO16, DO15, DO14, DO13, DO12, DO11, DO10, DO9, DO8, DO7, DO6, DO5, DO4, DO3, DO2, DO1, DO0} = modelled ? q : 36'bx;
endmodule

// Words of WIDTH bits in BYTES pieces with enables; addresses count bits, nine to a byte as eight.
module ecp5_ram #(parameter WIDTH = 36, parameter BYTES = 4) (
  input clk, write, read, take,
  input [BYTES-1:0] bytes,
  input [13:0] write_address, read_address,
  input [WIDTH-1:0] data,
  output reg [WIDTH-1:0] q
);
  localparam UNUSED = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2 : WIDTH == 2 ? 1 : 0;
  reg [WIDTH-1:0] memory [(16384 >> UNUSED) - 1:0];
  reg [WIDTH-1:0] latch;
  wire [13:0] writes = write_address >> UNUSED;
  wire [13:0] reads = read_address >> UNUSED;
  integer piece;
  always @(posedge clk) begin
    for (piece = 0; piece < BYTES; piece = piece + 1)
      if (write & bytes[piece])
        memory[writes][piece * (WIDTH / BYTES) +: WIDTH / BYTES] <= data[piece * (WIDTH / BYTES) +: WIDTH / BYTES];
    if (read) latch <= write & (|bytes) & writes == reads ? {WIDTH{1'bx}} : memory[reads];
    if (read & take) q <= latch;
  end
endmodule

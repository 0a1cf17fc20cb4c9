// SPDX-License-Identifier: Apache-2.0
// The simulated board: clock, reset, the accelerator, and an AXI4 memory with latency and stalls.
// Memory is loaded once and written out once, both by file, so that Python can sleep in between.

`timescale 1ns/1ps

module top #(
    parameter DATA_WIDTH = `KIWICHA_DATA_WIDTH,
    parameter ADDRESS_WIDTH = `KIWICHA_ADDRESS_WIDTH,
    parameter MEMORY_BYTES = `KIWICHA_MEMORY_BYTES
) (
    input rst /*verilator public_flat_rw*/,
    input [11:0] s_axil_awaddr /*verilator public_flat_rw*/,
    input s_axil_awvalid /*verilator public_flat_rw*/,
    output s_axil_awready /*verilator public_flat_rd*/,
    input [31:0] s_axil_wdata /*verilator public_flat_rw*/,
    input s_axil_wvalid /*verilator public_flat_rw*/,
    output s_axil_wready /*verilator public_flat_rd*/,
    output [1:0] s_axil_bresp /*verilator public_flat_rd*/,
    output s_axil_bvalid /*verilator public_flat_rd*/,
    input s_axil_bready /*verilator public_flat_rw*/,
    input [11:0] s_axil_araddr /*verilator public_flat_rw*/,
    input s_axil_arvalid /*verilator public_flat_rw*/,
    output s_axil_arready /*verilator public_flat_rd*/,
    output [31:0] s_axil_rdata /*verilator public_flat_rd*/,
    output [1:0] s_axil_rresp /*verilator public_flat_rd*/,
    output s_axil_rvalid /*verilator public_flat_rd*/,
    input s_axil_rready /*verilator public_flat_rw*/,
    input dump /*verilator public_flat_rw*/,
    input load /*verilator public_flat_rw*/,
    input [31:0] first_word /*verilator public_flat_rw*/,
    input [31:0] last_word /*verilator public_flat_rw*/,
    output interrupt /*verilator public_flat_rd*/,
    output reg clk /*verilator public_flat_rd*/
);
  localparam BYTES = DATA_WIDTH / 8;
  localparam SHIFT = $clog2(BYTES);
  localparam DEPTH = MEMORY_BYTES / BYTES;

  initial clk = 0;
  always #1 clk = ~clk;

  // What inputs reach is evaluated by Verilator at each edge, twice a cycle, changed or not: behind
  // the reset that is most of the machine, unless there is a register between.
  reg reset;
  always @(posedge clk) reset <= rst;

  wire [ADDRESS_WIDTH-1:0] araddr, awaddr;
  wire [7:0] arlen, awlen;
  wire arvalid, awvalid, wvalid, wlast, rready, bready;
  wire arready, awready, wready;
  wire [DATA_WIDTH-1:0] wdata;
  wire [BYTES-1:0] wstrb;
  reg [DATA_WIDTH-1:0] rdata;
  reg rvalid, rlast, bvalid;
  reg [1:0] rresp, bresp;

  accelerator dut (
      .clk(clk), .rst(reset), .interrupt(interrupt),
      .s_axil_awaddr(s_axil_awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(s_axil_awvalid),
      .s_axil_awready(s_axil_awready), .s_axil_wdata(s_axil_wdata), .s_axil_wstrb(4'hf),
      .s_axil_wvalid(s_axil_wvalid), .s_axil_wready(s_axil_wready), .s_axil_bresp(s_axil_bresp),
      .s_axil_bvalid(s_axil_bvalid), .s_axil_bready(s_axil_bready),
      .s_axil_araddr(s_axil_araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(s_axil_arvalid),
      .s_axil_arready(s_axil_arready), .s_axil_rdata(s_axil_rdata), .s_axil_rresp(s_axil_rresp),
      .s_axil_rvalid(s_axil_rvalid), .s_axil_rready(s_axil_rready),
      .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arvalid(arvalid),
      .m_axi_arready(arready), .m_axi_arid(), .m_axi_arsize(), .m_axi_arburst(),
      .m_axi_arprot(), .m_axi_arcache(),
      .m_axi_rid(1'b0), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast),
      .m_axi_rvalid(rvalid), .m_axi_rready(rready),
      .m_axi_awaddr(awaddr), .m_axi_awlen(awlen), .m_axi_awvalid(awvalid),
      .m_axi_awready(awready), .m_axi_awid(), .m_axi_awsize(), .m_axi_awburst(),
      .m_axi_awprot(), .m_axi_awcache(),
      .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast), .m_axi_wvalid(wvalid),
      .m_axi_wready(wready),
      .m_axi_bid(1'b0), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready)
  );

  // Settings and files ---------------------------------------------------------------------------

  reg [DATA_WIDTH-1:0] memory[0:DEPTH-1]  /*verilator public_flat_rw*/;
  reg [8*1024-1:0] image, result, patch;
  integer latency /*verilator public_flat_rw*/, stall /*verilator public_flat_rw*/;
  integer seed, first, last;

  initial begin
    if (!$value$plusargs("latency=%d", latency)) latency = 20;
    if (!$value$plusargs("stall=%d", stall)) stall = 0;
    if (!$value$plusargs("seed=%d", seed)) seed = 1;
    if (!$value$plusargs("first=%d", first)) first = 0;
    if (!$value$plusargs("last=%d", last)) last = DEPTH - 1;
    if ($value$plusargs("image=%s", image)) $readmemh(image, memory, first, last);
  end

  // All of the memory's file, or where last_word says so, a part of it, as often as asked for.
  always @(posedge dump)
    if ($value$plusargs("result=%s", result)) begin
      if (last_word != 0) $writememh(result, memory, first_word, last_word);
      else $writememh(result, memory, first, last);
    end
  always @(posedge load)
    if ($value$plusargs("patch=%s", patch)) $readmemh(patch, memory, first_word, last_word);

  // Each handshake waits with probability stall/256 a cycle; see stalls.sv.
  wire stall_ar, stall_r, stall_aw, stall_w, stall_b;
  stalls noise (
      .clk(clk), .rst(reset), .seed(seed), .chance(stall[7:0]),
      .waits({stall_b, stall_w, stall_aw, stall_r, stall_ar})
  );
  reg [31:0] time_now;
  always @(posedge clk) time_now <= reset ? 0 : time_now + 1;

  // Reads: a queue of accepted bursts, each with the time at which its first beat is due ---------

  localparam QUEUE = 32;
  reg [ADDRESS_WIDTH-1:0] ar_address[0:QUEUE-1];
  reg [7:0] ar_length[0:QUEUE-1];
  reg [31:0] ar_due[0:QUEUE-1];
  reg [5:0] ar_head, ar_tail;
  reg [7:0] ar_beat;
  wire [4:0] ar_first = ar_head[4:0];
  wire [ADDRESS_WIDTH-SHIFT-1:0] read_word = ar_address[ar_first][ADDRESS_WIDTH-1:SHIFT] + ar_beat;
  wire due = (ar_head != ar_tail) && ($signed(time_now - ar_due[ar_first]) >= 0) && !stall_r;
  assign arready = ((ar_tail - ar_head) & 6'h3f) < QUEUE && !stall_ar;

  always @(posedge clk) begin
    if (reset) begin
      ar_head <= 0; ar_tail <= 0; ar_beat <= 0; rvalid <= 0; rlast <= 0;
    end else begin
      if (arvalid && arready) begin
        ar_address[ar_tail[4:0]] <= araddr;
        ar_length[ar_tail[4:0]] <= arlen;
        ar_due[ar_tail[4:0]] <= time_now + latency - 1;
        ar_tail <= ar_tail + 1;
      end
      if (!rvalid || rready) begin
        rvalid <= due;
        if (due) begin
          rdata <= read_word < DEPTH ? memory[read_word] : 0;
          rresp <= read_word < DEPTH ? 2'b00 : 2'b11;
          rlast <= ar_beat == ar_length[ar_first];
          ar_beat <= ar_beat == ar_length[ar_first] ? 0 : ar_beat + 1;
          if (ar_beat == ar_length[ar_first]) ar_head <= ar_head + 1;
        end
      end
    end
  end

  // Writes: data is taken once its address is there; the response follows after the latency ------

  reg [ADDRESS_WIDTH-1:0] aw_address[0:QUEUE-1];
  reg [5:0] aw_head, aw_tail, b_head, b_tail;
  reg [7:0] aw_beat;
  reg [31:0] b_due[0:QUEUE-1];
  reg [1:0] b_code[0:QUEUE-1];
  reg failed;
  wire [4:0] aw_first = aw_head[4:0];
  wire [4:0] b_first = b_head[4:0];
  wire [ADDRESS_WIDTH-SHIFT-1:0] write_word = aw_address[aw_first][ADDRESS_WIDTH-1:SHIFT] + aw_beat;
  integer lane;
  assign awready = ((aw_tail - aw_head) & 6'h3f) < QUEUE && !stall_aw;
  assign wready = aw_head != aw_tail && ((b_tail - b_head) & 6'h3f) < QUEUE && !stall_w;

  always @(posedge clk) begin
    if (reset) begin
      aw_head <= 0; aw_tail <= 0; aw_beat <= 0; b_head <= 0; b_tail <= 0; bvalid <= 0; failed <= 0;
    end else begin
      if (awvalid && awready) begin
        aw_address[aw_tail[4:0]] <= awaddr;
        aw_tail <= aw_tail + 1;
      end
      if (wvalid && wready) begin
        if (write_word < DEPTH) begin
          for (lane = 0; lane < BYTES; lane = lane + 1)
            if (wstrb[lane]) memory[write_word][lane*8+:8] <= wdata[lane*8+:8];
        end else failed <= 1;
        aw_beat <= aw_beat + 1;
        if (wlast) begin
          aw_beat <= 0;
          aw_head <= aw_head + 1;
          failed <= 0;
          b_due[b_tail[4:0]] <= time_now + latency - 1;
          b_code[b_tail[4:0]] <= (failed || write_word >= DEPTH) ? 2'b11 : 2'b00;
          b_tail <= b_tail + 1;
        end
      end
      if (!bvalid || bready) begin
        bvalid <= 0;
        if (b_head != b_tail && $signed(time_now - b_due[b_first]) >= 0 && !stall_b) begin
          bvalid <= 1;
          bresp <= b_code[b_first];
          b_head <= b_head + 1;
        end
      end
    end
  end
endmodule

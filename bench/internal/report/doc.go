// Package report keeps what the benchmarks measured and shows it: a line of JSON for each figure, and a table.
//
// A figure is never a single number without its circumstances: how often it was measured, all the values, and how busy the
// machine was with other things meanwhile. The benchmarks call it; it measures nothing.
package report

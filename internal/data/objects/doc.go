// Package objects is the bucket of a data plane: inputs, outputs, code bundles, raw data, reports.
//
// The gateway, the launcher and the images part call it. A Bucket addresses objects by Key, built from validated
// segments; a URI is how a task addresses the same object with its own client. The suite in objectstest is what every
// implementation passes.
//
// # Where raw data goes
//
// Inputs, outputs, reports, checkpoints and code bundles of the file bucket have bare paths: the fastest way, and the stock SDK
// handles them whole. Raw data (File, Dir and DataFrame values that a task returns) has not: where the raw data prefix is a bare
// path the SDK (2.12.1) copies nothing, it returns the path of the task's own file, which is lost with the task's folder. No
// other address of a local folder works either: with "file://" it creates a folder of that name, and with fsspec's alias
// "local://" it copies, but then File.open, File.download and parquet writing take the whole address for a relative path
// and fail. So raw data has s3:// addresses, served from the same bucket by objects/s3endpoint.
//
// The package never decides who may read or write; it must never follow a path out of the bucket, whatever a task puts there.
package objects

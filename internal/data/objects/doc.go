// Package objects is the bucket of a data plane: inputs, outputs, code bundles, raw data, reports.
//
// The gateway, the launcher and the images part call it. A Bucket addresses objects by Key, built from validated
// segments; a URI is how a task addresses the same object with its own client. The suite in objectstest is what every
// implementation passes.
package objects

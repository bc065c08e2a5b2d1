// SPDX-License-Identifier: Apache-2.0

/** The version of this package; the manifests carry the same. */
export const VERSION: string = "0.1.0";

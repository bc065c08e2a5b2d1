// SPDX-License-Identifier: Apache-2.0

import type { CallOptions } from "../types.ts";
import type { ClusterState, PdConfigChange, PdConfigItem } from "./cluster_state.ts";
import type { PdRun } from "./pd_link.ts";

/** Options of {@linkcode PdConfig.load}. */
export interface PdConfigLoadOptions extends CallOptions {
  /** The entries that are wanted; default: all under the path. */
  readonly names?: readonly string[] | undefined;
}

/**
 * The global configuration: small values under paths, which components of a cluster share. Not the
 * configuration of PD itself.
 */
export class PdConfig {
  readonly #state: ClusterState;
  readonly #run: PdRun;

  /** For {@linkcode Pd.config}. */
  constructor(state: ClusterState, run: PdRun) {
    this.#state = state;
    this.#run = run;
  }

  /** Reads entries under a path, such as `"/global/config"`. Those that are not there are left out. */
  load(
    path: string,
    options: PdConfigLoadOptions = {},
  ): Promise<{ readonly items: readonly PdConfigItem[]; readonly revision: bigint }> {
    const { names, ...rest } = options;
    return this.#run("pd.config.load", rest, (call) => this.#state.loadConfig(names, path, call));
  }

  /** Changes entries under a path, all of them or none. */
  store(path: string, changes: readonly PdConfigChange[], options: CallOptions = {}): Promise<void> {
    return this.#run("pd.config.store", options, (call) => this.#state.storeConfig(changes, path, call));
  }
}

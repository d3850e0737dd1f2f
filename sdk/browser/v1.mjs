/** For `import`, in pages with a strict content security policy and in Node. */
import { create } from "./core.js";
import { base } from "./origin.js";

const sdk = create(base(import.meta.url));

export const { init, identify, identifyCompany, setContext, clearContext, flush, debug, destroy, getInstance, version } =
  sdk;
export { sdk as default, sdk as HaloSync, sdk as HaloAgents };

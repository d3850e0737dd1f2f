// What the documentation shows compiles.
import HaloSync, { HaloAgents, init, type ContextEntry, type DebugState, type SdkError } from "../../sdk/browser/v1.js";

const sdk = init({
  orgId: "org_1",
  apiKey: "ab_live_x",
  apiUrl: "https://halo.example.com",
  userId: "user_123",
  companyId: 456,
  userTraits: { name: "Jane Doe", role: "admin", signed_up_at: "2024-08-12T15:32:00Z", seats: 4, tags: ["a"] },
  companyTraits: { name: "Acme Corp", plan: "enterprise", employee_count: 150, on_contract: true },
  context: { billing: { label: "Subscription", type: "metric", value: { mrr: 299 } } },
  userToken: "token",
  getUserToken: async (userId: string) => (userId ? "token" : null),
  onReady: (ready) => ready.setContext("a", { label: "A", value: 1 }),
  onError: (error: SdkError) => [error.code, error.status, error.requestId, error.message],
  onIdentityExpired: () => {},
  debug: true,
});
const entry: ContextEntry = { label: "Current Issues", type: "error", value: [{ area: "billing", message: "late" }] };
sdk.identify("user_123", { plan: "pro" }, { userToken: "token" }).identifyCompany("c").setContext("issues", entry);
sdk.clearContext("issues").clearContext();
const sent: Promise<void> = sdk.flush();
const state: DebugState = HaloSync.debug();
const one = HaloAgents.getInstance();
if (one) one.destroy();
window.HaloSync.identify("user_123");
export { sent, state };

import HaloSync from "../../sdk/browser/v1.js";
// Each of these is a mistake that the types must find.
HaloSync.init({ userId: "user_123" });
HaloSync.init({ apiKey: "ab_live_x", userTraits: { created_at: "2024-01-01" } });
HaloSync.identify({ id: "user_123" });
HaloSync.identify("user_123", { renewal_status: "soon" });
HaloSync.identifyCompany("company_456", { health_score: 90 });
HaloSync.setContext("issues", { value: [] });
HaloSync.setContext("issues", { label: "Issues", type: "errors", value: [] });
HaloSync.setContext({ label: "Issues", value: [] });
HaloSync.flush().then((sent: number) => sent);

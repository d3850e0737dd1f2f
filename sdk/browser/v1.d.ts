/**
 * The browser SDK of halo-sync, `v1.mjs` (imported) and `v1.js` (the global `HaloSync`).
 *
 * No call throws, and none waits for the network: what is said is sent a moment later, together with what is said
 * in the same moment. `flush()` waits until it is sent.
 */

/** How a context entry is printed for the chat; without one its value decides. */
export type ContextType =
  | "list"
  | "integration"
  | "error"
  | "status"
  | "config"
  | "feature"
  | "metric"
  | "relationship"
  | "custom";

/** What is happening to the user, under one key. The same key again replaces the whole entry. */
export interface ContextEntry {
  /** The section's header in the prompt. */
  label: string;
  type?: ContextType;
  /** Anything that JSON can hold. */
  value: unknown;
}

/** Days and times are ISO 8601. */
interface SharedTraits {
  name?: string;
  plan?: string;
  /** When they became your customer. */
  signed_up_at?: string;
  renewal_status?:
    | "up_for_renewal"
    | "in_progress"
    | "likely_to_renew"
    | "expansion_opportunity"
    | "set_to_cancel"
    | "set_to_cancel_trial"
    | "at_risk"
    | "renewed"
    | "lost";
  renewal_date?: string;
  contract_term?: "monthly" | "quarterly" | "annual" | "bi_annual";
  payment_terms?: "monthly" | "quarterly" | "annual" | "bi_annual";
  on_contract?: boolean;
  /** In major units of the organisation's reporting currency. */
  mrr?: number;
  arr?: number;
  /** Whatever else you know. */
  [key: string]: unknown;
}

/** Who a user is. Merged with what is known, key by key; the later wins. Reserved keys are refused by the server. */
export interface UserTraits extends SharedTraits {
  email?: string;
  /** Address of an image. */
  avatar?: string;
  role?: string;
  id?: never;
  external_id?: never;
  org_id?: never;
  company_id?: never;
  created_at?: never;
  updated_at?: never;
  first_seen?: never;
  last_seen?: never;
  last_contacted_at?: never;
}

/** What a company is, merged in the same way. */
export interface CompanyTraits extends SharedTraits {
  domain?: string;
  industry?: string;
  employee_count?: number;
  monthly_spend?: number;
  id?: never;
  external_id?: never;
  org_id?: never;
  created_at?: never;
  updated_at?: never;
  health_score?: never;
  team_size?: never;
  last_contacted_at?: never;
}

/** Something was not taken, and will not be sent again. */
export interface SdkError extends Error {
  /** The operation, for instance `/users/identify`. */
  path?: string;
  /** HTTP status; absent when there was no answer. */
  status?: number;
  /** The server's word for what is wrong. */
  code?: string;
  /** The server's id of the request, to be found in its log. */
  requestId?: string;
  /** The server's whole answer, for instance with `reserved_keys`. */
  body?: unknown;
}

export interface InitOptions {
  /** A publishable key (`ab_live_…`). */
  apiKey: string;
  /** Shown by `debug()`; the key says whose it is. */
  orgId?: string;
  /** The server's address, with or without `/api/sdk`; by default where this file came from. */
  apiUrl?: string;
  userId?: string | number;
  companyId?: string | number;
  userTraits?: UserTraits;
  companyTraits?: CompanyTraits;
  context?: Record<string, ContextEntry>;
  /** A token that your backend signed for `userId`. */
  userToken?: string;
  /** Gives a token when there is none, and once more when the server refuses the one there is. */
  getUserToken?: (userId: string) => string | null | undefined | Promise<string | null | undefined>;
  /** Called once, after `init`. */
  onReady?: (sdk: HaloSync) => void;
  /** Called for each request that is given up. */
  onError?: (error: SdkError) => void;
  /** Called once when no token is accepted. What waits is sent after `identify(id, traits, { userToken })`. */
  onIdentityExpired?: () => void;
  /** Warns of what the server will refuse. By default on pages of this machine (`localhost`). */
  debug?: boolean;
}

/** What `debug()` shows: no secret and no trait, so that it can be passed on. */
export interface DebugState {
  version: string;
  ready: boolean;
  apiUrl?: string;
  orgId?: string;
  /** Whether there is one. */
  apiKey: boolean;
  userId?: string;
  companyId?: string;
  sessionId: string;
  /** Whether there is one. */
  userToken: boolean;
  /** Whether there is one. */
  getUserToken: boolean;
  identityExpired: boolean;
  /** What waits to be sent. */
  pending: number;
  /** Requests that were accepted, and that were given up. */
  sent: number;
  failed: number;
  lastError?: string;
}

export interface HaloSync {
  readonly version: string;
  /** Once in a page; a second call is ignored with a warning. */
  init(options: InitOptions): HaloSync;
  /** Says who the user is, and that they are here now. */
  identify(userId: string | number, traits?: UserTraits, options?: { userToken?: string }): HaloSync;
  /** Links the user to a company, once and for all, and says what the company is. */
  identifyCompany(companyId: string | number, traits?: CompanyTraits): HaloSync;
  /** Sets a context entry of the user; before there is a user it waits for one. */
  setContext(key: string, entry: ContextEntry): HaloSync;
  /** Removes one context entry of the user, or all. */
  clearContext(key?: string): HaloSync;
  /** Sends what waits; resolves when all was accepted or given up, or waits for another token. Never fails. */
  flush(): Promise<void>;
  /** Prints and gives the state. */
  debug(): DebugState;
  /** The SDK after `init`, else null. */
  getInstance(): HaloSync | null;
  /** Sends what waits as at the end of a page, and forgets everything; `init` may be called again. */
  destroy(): void;
}

export declare const init: HaloSync["init"];
export declare const identify: HaloSync["identify"];
export declare const identifyCompany: HaloSync["identifyCompany"];
export declare const setContext: HaloSync["setContext"];
export declare const clearContext: HaloSync["clearContext"];
export declare const flush: HaloSync["flush"];
export declare const debug: HaloSync["debug"];
export declare const getInstance: HaloSync["getInstance"];
export declare const destroy: HaloSync["destroy"];
export declare const version: string;
declare const sdk: HaloSync;
export { sdk as default, sdk as HaloSync, sdk as HaloAgents };

declare global {
  interface Window {
    /** From `v1.js`. */
    HaloSync: HaloSync;
  }
}

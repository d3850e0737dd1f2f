/** The server that a copy of this SDK came from: what stands before `/sdk/FILE`; empty for a copy from elsewhere. */
export const base = (url) => /^(https?:.*)\/sdk\/[^/?#]*([?#].*)?$/.exec(url || "")?.[1] || "";

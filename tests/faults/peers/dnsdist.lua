setLocal("127.0.0.1:53")
setACL({"127.0.0.0/8"})
setMaxUDPOutstanding(65535)
setStaleCacheEntriesTTL(86400)
setServerPolicy(leastOutstanding)
{RESOLVERS}
getPool(""):setCache(newPacketCache(500000, {keepStaleData = true, temporaryFailureTTL = 1}))

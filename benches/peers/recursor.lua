-- The packet cache keeps what private clients get apart from the rest by the tag.
local private = newNMG()
private:addMask("127.0.1.0/24")
local names = newDS()
names:add("{NAME}")

function gettag(remote, ednssubnet, localip, qname, qtype, ednsoptions, tcp, proxyprotocolvalues)
  return private:match(remote) and 1 or 0
end

function preresolve(dq)
  if dq.tag ~= 1 or not names:check(dq.qname) then
    return false
  end
  if dq.qtype == pdns.A then
    dq:addAnswer(pdns.A, "{ENDPOINT}", 60)
  end
  dq.rcode = pdns.NOERROR
  return true
end

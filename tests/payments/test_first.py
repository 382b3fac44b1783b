def test_a_paid_order_has_tickets(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(2, 1)
    assert shopfront.stock() == (3, 0)
    pi = buyer.open_pay_page(order)
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    order = shopfront.order(order.token)
    assert order.status == "paid"
    assert shopfront.stock() == (0, 3)
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 1
    assert buyer.get(f"/orders/{order.token}/tickets.pdf").content.startswith(b"%PDF")
    assert "TEST" in buyer.get(f"/orders/{order.token}").text.upper()

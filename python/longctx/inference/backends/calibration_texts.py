"""Texts from which the scales of int8 activations are found: many registers and scripts in little space, written for this.

They only have to make every part of a model as active as real documents do. Changing them changes every int8 result, and the
cache's fingerprint with it.
"""

from __future__ import annotations

CALIBRATION_TEXTS = (
    # A contract.
    "THIS AGREEMENT is made as of 14 March 2019 between Harrow & Finch Ltd, a company incorporated in England (the “Supplier”), and the "
    "party named in Schedule 1 (the “Customer”). 1.1 The Supplier shall deliver the Goods within thirty (30) days of each Order. 1.2 Title "
    "passes on payment in full; risk passes on delivery. 7.4 Neither party shall be liable for any indirect or consequential loss, save "
    "that nothing in this Agreement limits liability for death or personal injury caused by negligence, or for fraud. 9.2 Either party may "
    "terminate with immediate effect if the other commits a material breach and fails to remedy it within fourteen days of written notice. "
    "12. This Agreement is governed by the laws of England and Wales, and the courts of London have exclusive jurisdiction.",
    # News.
    "The city council voted 9-2 on Tuesday night to close the old harbour bridge to traffic until at least next spring, after engineers "
    'found cracks in four of its twelve supports. "Nobody wanted this," said Mayor Ines Duarte, "but nobody wants to read about a '
    'collapse either." Shop owners on the east bank expect losses of up to 40 percent; the ferry company has promised a boat every ten '
    "minutes at rush hour. Repairs are estimated at $18.6 million, of which the state will pay half. A final report is due in June. "
    "Shares of the construction group that built the bridge in 1961 fell 3.1% in early trading, then recovered most of the loss.",
    # Reviews, one warm and one angry.
    "What a film. I went in expecting two hours of talking heads and came out with wet eyes and an argument about the last shot that went "
    "on until the bus came. The camera never hurries, the daughter is played by somebody I had never heard of and will not forget, and the "
    "music stays out of the way. It isn't perfect - the subplot with the lawyer goes nowhere - but who cares? Go and see it on a big screen. "
    "9/10. DO NOT BUY THIS KETTLE!!! worked for 3 weeks, then the handle came off with boiling water in it :( customer service kept me on "
    "hold for an hour and told me it was 'normal wear'. Normal?? I want my money back. One star because zero is not possible.",
    # A dialogue.
    "Agent: Good morning, you are speaking with Priya, how can I help? Customer: hi, yeah, my internet has been down since, um, Sunday. "
    "Agent: I'm sorry to hear that. Could you tell me which lights are on at the router? Customer: the first is green, the second one "
    "blinks red. I already restarted it. Twice. Agent: Thank you. I can see a fault in your street; a technician is booked for tomorrow "
    "between eight and noon. Customer: and who pays for the three days? Agent: You will be credited 4.50 a day, without asking. "
    "Customer: okay. fine. thanks I guess. Agent: Is there anything else? Customer: no. Wait, yes: can I keep my old number?",
    # Medicine and science.
    "A 67-year-old man with type 2 diabetes and a history of myocardial infarction presented with dyspnoea on exertion (NYHA III), ankle "
    "oedema and a weight gain of 6 kg in two weeks. BP 148/92 mmHg, HR 104/min, SpO2 91 % on room air. NT-proBNP was 4,820 pg/mL. Furosemide "
    "40 mg i.v. was given twice daily; he was discharged on day 6. We trained the network with a learning rate of 3e-4 for 20 epochs on 1.2 "
    "million samples; the loss is L = -log p(y|x) + λ||w||². In Table 2, removing the gate lowers F1 from 0.871 to 0.846 (p < 0.01), whereas "
    "doubling the width changes nothing. Our results suggest that depth, not width, limits the baseline, though the test set is small.",
    # A novel.
    "It was nearly dark when the carriage turned off the high road, and the rain, which had threatened since noon, began to fall in earnest. "
    "Mrs. Alder drew her shawl closer and said nothing; she had said nothing since the mill, where the wheel stood still and a single crow "
    "sat upon it as if it had been paid to. “You will find the house changed,” the old man said at last. “I find everything changed,” she "
    "answered, “and that is why I have come.” Far off, beyond the black line of the elms, a window was lit, went out, and was lit again.",
    # Parliament and finance.
    "Mr. Speaker, I rise to oppose this amendment, and I shall be brief. Four years ago this House was told that the fund would run a "
    "surplus by now. It does not. It owes two hundred and eleven million, and the honourable member knows it. Operator: Welcome to the "
    "third-quarter call. Revenue came in at $412 million, up 7% year over year and 2% sequentially, gross margin was 38.4%, and we repurchased "
    "1.1 million shares. Looking ahead, we see softness in Europe and, frankly, we are not going to guess when it ends. With that, questions.",
    # Code, mark-up, lists, addresses.
    "def mean(xs):\n    return sum(xs) / len(xs) if xs else 0.0\n\nfor (int i = 0; i < n; ++i) { total += a[i] * b[i]; } // O(n)\n"
    '<div class="note"><a href="https://example.org/a?b=1&c=2">more</a></div> {"id": 17, "tags": ["x", "y"], "ok": true} '
    "SELECT name, count(*) FROM orders WHERE day >= '2020-01-01' GROUP BY name; ERROR 2021-06-07T11:02:09Z worker[3]: timeout after 30000 ms\n"
    "- milk\n- 2 x bread\n- 500 g flour\nJ. Okafor, 12 Mill Lane, Leeds LS1 4AB, tel. +44 113 496 0000, info@example.org. ISBN 978-0-00-000000-2",
    # Recipes, rules, short messages.
    "Preheat the oven to 200 °C. Toss the carrots with oil, salt and cumin, and roast for 35 minutes until the edges darken. Regulation (EC) "
    "No 1107/2009: Member States shall ensure that the measures referred to in Article 3(2) enter into force no later than 1 July. The "
    "Commission shall be assisted by a committee. lol ok see u at 8?? 😂😂 #friday @sam dont forget the keys. RT: goal!!! 2-1 in the 93rd minute!",
    # Other languages and scripts.
    "Der Vermieter haftet nicht für Schäden, die durch höhere Gewalt entstehen; der Mieter hat Mängel unverzüglich schriftlich anzuzeigen. "
    "Le conseil a rejeté la demande à l'unanimité, estimant que l'intérêt général n'était pas démontré. El paciente refiere dolor "
    "abdominal desde hace tres días, sin fiebre ni vómitos. A empresa anunciou ontem um lucro de 3,2 milhões de euros. Il film è lento, "
    "ma l'ultima scena vale il prezzo del biglietto. De rechtbank verklaart het beroep ongegrond. Umowa wchodzi w życie z dniem podpisania.",
    "Суд отклонил жалобу, указав, что срок обращения был пропущен без уважительной причины. 公司昨日公布第三季度业绩,净利润同比增长百分之十二,"
    "但海外市场仍然疲软。 この映画は静かだが、最後の場面で涙が止まらなかった。 이 제품은 일주일 만에 고장이 났고 환불을 거절당했습니다. "
    "أعلنت الوزارة أن القانون الجديد سيدخل حيز التنفيذ في بداية العام المقبل. אין להחזיר את המוצר לאחר פתיחת האריזה. "
    "यह अनुबंध दोनों पक्षों के हस्ताक्षर की तिथि से लागू होगा। Η συμφωνία υπογράφηκε χθες στην Αθήνα. Hợp đồng có hiệu lực từ ngày ký.",
    # Next to nothing.
    "Yes.",
    "No comment. See attached.",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "AAAA BBBB !!!! ???? .... ---- ____ //// (((( )))) **** $$$$ %%%%",
)
